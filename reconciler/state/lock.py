"""Lock a state directory for one daemon at a time; the kernel releases the lock when the daemon exits."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from reconciler.state.paths import StatePaths


class AlreadyRunning(Exception):
    """Another daemon holds the lock; `pid` is 0 if it is unknown."""

    def __init__(self, state: Path, pid: int) -> None:
        super().__init__(f"cannot use {state}: a daemon (pid {pid}) already uses it")
        self.pid = pid


@contextlib.contextmanager
def acquire(paths: StatePaths) -> Iterator[None]:
    """Hold the lock of a state directory, creating both. Raises AlreadyRunning or OSError."""
    paths.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths.state.chmod(0o700)
    lock = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _locked(lock):
            raise AlreadyRunning(paths.state, int(os.pread(lock, 20, 0) or b"0"))
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(lock)


def _locked(lock: int) -> bool:
    """Take the lock; `holder` may hold it for a moment, so try more than once."""
    for _ in range(10):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.02)
    return False


def holder(paths: StatePaths) -> int | None:
    """Return the pid of the daemon that holds the lock, None if there is none."""
    try:
        lock = os.open(paths.lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.pread(lock, 20, 0) or b"0")
    finally:
        os.close(lock)
    return None
