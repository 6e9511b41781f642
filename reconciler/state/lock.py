"""Lock a state directory for one daemon at a time; the kernel releases the lock when the daemon exits."""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from reconciler.state.ownership import require_ours
from reconciler.state.paths import StatePaths, unusable

_WIDTH = 20
_UNFOLLOWED = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class AlreadyRunning(Exception):
    """Another daemon holds the lock; `pid` is 0 if it is unknown."""

    def __init__(self, state: Path, pid: int) -> None:
        super().__init__(f"cannot use {state}: a daemon (pid {pid}) already uses it")
        self.pid = pid


class Lock:
    """The lock of a state directory, held by this process."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def is_in_place(self) -> bool:
        """Return whether the state directory is still where it was: not moved away, removed or replaced."""
        ours = os.fstat(self._descriptor)
        try:
            there = self._path.stat()
        except OSError as error:
            return error.errno not in (errno.ENOENT, errno.ENOTDIR)
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def keep(self) -> None:
        """Hold it until this process has ended, whatever a thread of it is still doing by then."""
        os.dup(self._descriptor)


@contextlib.contextmanager
def acquire(paths: StatePaths) -> Iterator[Lock]:
    """Hold the lock of a state directory, creating both. Raises AlreadyRunning, NotOurs or OSError."""
    if problem := unusable(paths.state):
        raise OSError(problem)
    with contextlib.suppress(FileExistsError):
        paths.state.parent.mkdir(parents=True, exist_ok=True)
        paths.state.mkdir(mode=0o700)
    require_ours(paths.state)
    paths.state.chmod(0o700)
    lock = os.open(paths.lock, os.O_RDWR | os.O_CREAT | _UNFOLLOWED, 0o600)
    try:
        if not _locked(lock):
            raise AlreadyRunning(paths.state, _pid(lock))
        os.pwrite(
            lock, str(os.getpid()).ljust(_WIDTH).encode(), 0
        )  # in place: a full disk has no room for another block
        yield Lock(paths.lock, lock)
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
    """Return the pid of the daemon that holds the lock, 0 if it is unknown, None if there is none."""
    try:
        lock = os.open(paths.lock, os.O_RDONLY | _UNFOLLOWED)  # also on a read-only disk
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid(lock)
    except OSError:
        return None
    finally:
        os.close(lock)
    return None


def _pid(lock: int) -> int:
    text = os.pread(lock, _WIDTH, 0).strip()
    return int(text) if text.isdigit() else 0
