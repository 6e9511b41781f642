"""Tell a proxy by a file: write it, have the proxy's own command check all of its configuration, and reload it.

A file that the check refuses is replaced by the last one that it did not, so that no site of the proxy is stuck; that
is on record, as the file itself may be one that a killed daemon had no time to check. What was reloaded last is on
record, too: a daemon that is killed between the file and the reload does the reload again.
"""

import asyncio
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from reconciler.linux.error_words import in_words
from reconciler.linux.files import replace_file
from reconciler.linux.regular_files import read_own
from reconciler.planning.fingerprint import fingerprint
from reconciler.routing.admin import ConfigRefused, ProxyError
from reconciler.routing.hosts_proxy import HostsProxy
from reconciler.settings.proxy import ProxyFile

_MOST = 64 * 1024 * 1024
_COMMAND_S = 60.0
_READABLE = 0o640


class FileProxy(HostsProxy):
    """A proxy that reads `file`; `record` tells what it has reloaded last, and one beside it what was checked last."""

    def __init__(self, file: ProxyFile, record: Path) -> None:
        self._file = file
        self._record = record
        self._accepted = record.with_name("accepted")

    async def look(self) -> Any:
        return await asyncio.to_thread(self._look)

    async def configure(self, config: Any) -> None:
        await asyncio.to_thread(self._configure, str(config))

    def _look(self) -> str:
        """Return the file as it was reloaded, "" if it was not."""
        content = self._content()
        with suppress(OSError):
            if read_own(self._record, _MOST).decode() == fingerprint(content):
                return content
        return ""

    def _content(self) -> str:
        try:
            return read_own(self._file.path, _MOST).decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise ProxyError(f"cannot read {self._file.path}: {in_words(error)}") from error

    def _configure(self, text: str) -> None:
        before = self._last_accepted()
        self._record.unlink(missing_ok=True)
        self._write(text)
        if self._file.check and (said := _failure(self._file.check)):
            self._write(before)
            raise ConfigRefused(f"{' '.join(self._file.check)}: {said} (the file before is in its place again)")
        replace_file(self._accepted, text, durable=False)
        if self._file.reload and (said := _failure(self._file.reload)):
            raise ProxyError(f"{' '.join(self._file.reload)}: {said}")
        replace_file(self._record, fingerprint(text), durable=False)

    def _last_accepted(self) -> str:
        """Return the file that was checked last; of an earlier release's, or an operator's own, what is there."""
        with suppress(OSError):
            return read_own(self._accepted, _MOST).decode("utf-8", "replace")
        return self._content()

    def _write(self, text: str) -> None:
        try:
            if text:
                replace_file(self._file.path, text, mode=_READABLE)
            else:
                self._file.path.unlink(missing_ok=True)
        except OSError as error:
            raise ProxyError(f"cannot write {self._file.path}: {in_words(error)}") from error


def _failure(command: Sequence[str]) -> str:
    """Run a command, and return why it failed, "" if it did not; blocks."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=_COMMAND_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"did not end within {_COMMAND_S:g} s"
    except OSError as error:
        return f"cannot be run: {in_words(error)}"
    if done.returncode == 0:
        return ""
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    return lines[0][:300] if lines else f"exited with {done.returncode}"
