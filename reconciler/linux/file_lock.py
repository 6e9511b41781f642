"""A path in; held against every other task and process for as long as its context lasts.

The descriptor that holds it can be handed to programs we start, so that it is free only once the last of them is gone.
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
    """Hold `path`, made when it is not there; the descriptor that holds it. `waiting` is called while others do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while (lock := try_lock(path)) is None:
        waiting()
        await asyncio.sleep(_POLL_S)
    try:
        yield lock
    finally:
        os.close(lock)


def try_lock(path: Path) -> int | None:
    """A descriptor that holds `path`, None when somebody else does, or just removed it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_ino == path.stat().st_ino:
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)
    return None
