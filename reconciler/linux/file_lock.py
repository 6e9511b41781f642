"""Lock a path against every other task and process.

The descriptor that holds the lock can be handed to programs, so that it is free only once the last of them has ended.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

_POLL_S = 0.1


@asynccontextmanager
async def locked(path: Path, waiting: Callable[[], object]) -> AsyncIterator[int]:
    """Lock `path`, created if it is missing, and return the descriptor; `waiting` is called while another holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while (lock := try_lock(path)) is None:
        waiting()
        await asyncio.sleep(_POLL_S)
    try:
        yield lock
    finally:
        os.close(lock)


def try_lock(path: Path) -> int | None:
    """Lock `path` and return the descriptor, None if another process holds it or has just removed it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    return held(lock, path)


def held(opened: int, path: Path) -> int | None:
    """Lock a descriptor of `path` and return it; close it and return None where `try_lock` does. Raises OSError."""
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(opened).st_ino == path.stat().st_ino:
            return opened
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(opened)
        raise
    os.close(opened)
    return None
