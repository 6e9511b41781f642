"""Tell a proxy by a file: write it, have the proxy's own command check all of its configuration, and reload it.

A file that the check refuses is replaced by the one before, so that no site of the proxy is stuck. What was reloaded
last is on record: a daemon that is killed between the file and the reload does the reload again.
"""

import asyncio
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from reconciler.linux.files import replace_file
from reconciler.linux.regular_files import read_own
from reconciler.planning.fingerprint import fingerprint
from reconciler.routing.admin import ConfigRefused, ProxyError
from reconciler.settings.proxy import ProxyFile

_MOST = 64 * 1024 * 1024
_COMMAND_S = 60.0
_READABLE = 0o640


class FileProxy:
    """A proxy that reads `file`; `record` holds what it has reloaded last."""

    def __init__(self, file: ProxyFile, record: Path) -> None:
        self._file = file
        self._record = record

    @property
    def running(self) -> bool:
        return False

    @property
    def version(self) -> tuple[int, ...]:
        return ()

    async def start(self, config: Any) -> None:  # noqa: ARG002  as every driver has it
        raise ProxyError("the proxy is the host's: its own supervisor starts it")

    async def look(self) -> Any:
        return await asyncio.to_thread(self._look)

    async def configure(self, config: Any) -> None:
        await asyncio.to_thread(self._configure, str(config))

    async def end(self) -> None:
        raise ProxyError("the proxy is the host's: its own supervisor ends it")

    def close(self) -> None:
        """Nothing is watched."""

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
            raise ProxyError(f"cannot read {self._file.path}: {error.strerror}") from error

    def _configure(self, text: str) -> None:
        before = self._content()
        self._record.unlink(missing_ok=True)
        self._write(text)
        if self._file.check and (said := _failure(self._file.check)):
            self._write(before)
            raise ConfigRefused(f"{' '.join(self._file.check)}: {said} (the file before is in its place again)")
        if said := _failure(self._file.reload):
            raise ProxyError(f"{' '.join(self._file.reload)}: {said}")
        replace_file(self._record, fingerprint(text), durable=False)

    def _write(self, text: str) -> None:
        try:
            if text:
                replace_file(self._file.path, text, mode=_READABLE)
            else:
                self._file.path.unlink(missing_ok=True)
        except OSError as error:
            raise ProxyError(f"cannot write {self._file.path}: {error.strerror}") from error


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
        return f"cannot be run: {error.strerror}"
    if done.returncode == 0:
        return ""
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    return lines[0][:300] if lines else f"exited with {done.returncode}"
