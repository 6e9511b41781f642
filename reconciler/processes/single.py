"""The locks of processes of which there must never be two: held by whatever of one is alive, freed by the kernel.

The lock is an flock on a descriptor that the process and all its children inherit. The daemon takes it, hands it over
and closes its own copy: whatever ends in between, the kernel frees it with the last that holds it.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from reconciler.linux.file_lock import try_lock
from reconciler.state.paths import StatePaths

_END_WITHIN_S = 5.0
_LOOK_EVERY_S = 0.02


class SingleLocks:
    """The locks of single processes, by app and process."""

    def __init__(self, paths: StatePaths) -> None:
        self._paths = paths

    def is_held(self, app: str, process: str) -> bool:
        """Return whether something holds the lock of a process."""
        try:
            lock = try_lock(self._file(app, process))
        except FileNotFoundError:
            return False
        except OSError:
            return True  # what cannot be told apart is not started twice
        if lock is None:
            return True
        os.close(lock)
        return False

    def take(self, app: str, process: str) -> int | None:
        """Take the lock of a process and return its descriptor, None if something holds it. Raises OSError."""
        file = self._file(app, process)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return try_lock(file)

    def end_holders(self, app: str, process: str) -> tuple[int, ...]:
        """Kill what holds the lock of a process, and wait until it is free; return the pids. Raises TimeoutError."""
        file, killed, until = self._file(app, process), dict[int, None](), time.monotonic() + _END_WITHIN_S
        while self.is_held(app, process):
            killed |= dict.fromkeys(_killed(file))
            if time.monotonic() >= until:
                raise TimeoutError(f"its lock is held by what this daemon cannot end: {file}")
            time.sleep(_LOOK_EVERY_S)
        return tuple(killed)

    def forget(self, app: str, process: str) -> None:
        """Remove the lock of a process, unless something holds it: it must not be found free by another."""
        with suppress(OSError):
            lock = self.take(app, process)
            if lock is not None:
                self._file(app, process).unlink()
                os.close(lock)

    def _file(self, app: str, process: str) -> Path:
        return self._paths.app(app) / "locks" / f"{process}.lock"


def _killed(file: Path) -> Iterator[int]:
    """Kill each process with a descriptor that holds the lock of a file; yield their pids."""
    found = file.stat()
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()):
        with suppress(OSError):
            process = os.pidfd_open(pid)
            try:
                if pid != os.getpid() and _holds(pid, (found.st_dev, found.st_ino)):
                    signal.pidfd_send_signal(process, signal.SIGKILL)
                    yield pid
            finally:
                os.close(process)


def _holds(pid: int, file: tuple[int, int]) -> bool:
    """Return whether a process has a descriptor of a file, and the lock with it. Raises OSError."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            opened = entry.stat()
            if (opened.st_dev, opened.st_ino) == file:
                return "FLOCK" in Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text()
    return False
