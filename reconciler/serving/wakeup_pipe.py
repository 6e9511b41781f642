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


def open_wakeup_pipe(path: Path, mode: int) -> int:
    """Open the pipe, creating it with this mode; the descriptor never reads an end of file."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, mode)
    opened = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    if not stat.S_ISFIFO(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(f"{path} is no named pipe: remove it")
    return opened


def drain(pipe: int, wake: Callable[[str], None]) -> None:
    """Call `wake` with every app whose workers wrote; a name cut in two is of no app, and a second look finds it."""
    with contextlib.suppress(BlockingIOError):
        for name in set(os.read(pipe, 65536).decode("ascii", "replace").split()):
            wake(name)


async def listen_to_workers(path: Path, mode: int, wake: Callable[[str], None]) -> None:
    """Call `wake` with every app whose workers write into the pipe at a path, until cancelled."""
    loop, pipe = asyncio.get_running_loop(), open_wakeup_pipe(path, mode)
    try:
        loop.add_reader(pipe, drain, pipe, wake)
        await asyncio.Event().wait()
    finally:
        loop.remove_reader(pipe)
        os.close(pipe)
