"""Who keeps a state directory: one daemon at a time, known by a lock that its death releases."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from reconciler.state.paths import StatePaths


class AlreadyRunning(Exception):
    """Another daemon keeps this state directory; `pid` is its, 0 when unknown."""

    def __init__(self, state: Path, pid: int) -> None:
        super().__init__(f"cannot use {state}: a daemon (pid {pid}) already keeps it")
        self.pid = pid


@contextlib.contextmanager
def acquire(paths: StatePaths) -> Iterator[None]:
    """Own the state directory, creating it, for as long as the context lasts; raises AlreadyRunning or OSError."""
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
    """Take the lock; `running` may hold it for an instant, so one refusal is not believed."""
    for _ in range(10):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.02)
    return False


def holder(paths: StatePaths) -> int | None:
    """The pid of the daemon that keeps this state directory, None when none does."""
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
