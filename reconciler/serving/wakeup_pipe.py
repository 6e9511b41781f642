"""The named pipe on which workers wake the daemon.

A wake-up carries an app's name and means nothing but "look": the files that workers leave are the truth, so that the
next look makes up for one that was lost.
"""

import asyncio
import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

# No honest workers write as much before it is read: an app that floods the pipe is heard ten times a second.
_AT_ONCE = 65536
_PAUSE_S = 0.1


def open_wakeup_pipe(path: Path, mode: int) -> int:
    """Open the pipe, creating it with this mode; the descriptor never reads an end of file."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, mode)
    opened = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    if not stat.S_ISFIFO(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(f"{path} is no named pipe: remove it")
    return opened


def drain(pipe: int, wake: Callable[[str], None]) -> bool:
    """Call `wake` with every app whose workers wrote; return whether there was more than is read at once.

    A name cut in two is of no app, and a second look finds it.
    """
    with contextlib.suppress(BlockingIOError):
        written = os.read(pipe, _AT_ONCE)
        for name in set(written.decode("ascii", "replace").split()):
            wake(name)
        return len(written) == _AT_ONCE
    return False


async def listen_to_workers(path: Path, mode: int, wake: Callable[[str], None]) -> None:
    """Call `wake` with every app whose workers write into the pipe at a path, until cancelled."""
    loop, pipe = asyncio.get_running_loop(), open_wakeup_pipe(path, mode)
    flooded = asyncio.Event()

    def read() -> None:
        if drain(pipe, wake):
            loop.remove_reader(pipe)
            flooded.set()

    try:
        while True:
            flooded.clear()
            loop.add_reader(pipe, read)
            await flooded.wait()
            await asyncio.sleep(_PAUSE_S)
    finally:
        loop.remove_reader(pipe)
        os.close(pipe)
