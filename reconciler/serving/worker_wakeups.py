"""The empty files by which workers wake the daemon: a worker opens that of its app, and the kernel tells.

To open a file for reading writes nothing and holds no lock that another app would wait for. A wake-up means nothing but
"look": the files that workers leave are the truth, so that the next look makes up for one that was lost.
"""

import asyncio
import contextlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from reconciler.linux.dataclass import dataclass
from reconciler.linux.inotify_descriptor import ISDIR, ONLYDIR, OPEN, Event, Inotify
from reconciler.linux.listing import names_in

# Workers that start together are heard at once; an app that opens its file without a pause, so many times a second.
_AT_ONCE = 200
_A_SECOND = 50
_PAUSE_S = 0.1
_AGAIN_S = 5.0
# More apps than one host has: what a look finds after the kernel has dropped events.
_MOST = 100_000
_READABLE = 0o444  # its directory is the daemon's alone
_PIPE_AT_ONCE = 65536


class Woken(Protocol):
    """The instances whose workers are heard."""

    @property
    def unadopted(self) -> Mapping[str, object]:
        """Those of an earlier daemon that could not be adopted yet."""
        ...

    def all(self) -> Iterable[object]:
        """Return every instance."""
        ...

    def on_wakeup(self, app: str) -> None:
        """Take the wake-up of an app."""
        ...


def make_wakeup_file(path: Path) -> None:
    """Make the file by which the workers of an app wake the daemon, unless it is there. Raises OSError."""
    try:
        found = path.lstat().st_mode
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = stat.S_IFREG
        os.mknod(path, found)  # which does not open it
    if stat.S_ISREG(found) and stat.S_IMODE(found) != _READABLE:
        path.chmod(_READABLE)


async def hear_workers(directory: Path, wake: Callable[[str], None]) -> None:
    """Call `wake` with every app whose workers open its file in a directory, until cancelled.

    Where the directory cannot be watched, or not any more, instances are looked at all the same, and it is tried again.
    """
    while True:
        with contextlib.suppress(OSError):  # what watches sources meets the same limit, and tells
            await _hear(directory, wake)
        await asyncio.sleep(_AGAIN_S)


async def _hear(directory: Path, wake: Callable[[str], None]) -> None:
    """Do it until the directory is lost. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    inotify, heard = Inotify(), _Heard(directory)
    loop, pause = asyncio.get_running_loop(), asyncio.Event()
    left, refilled = float(_AT_ONCE), loop.time()

    def read() -> None:
        nonlocal left, refilled
        now = loop.time()
        left, refilled = min(_AT_ONCE, left + (now - refilled) * _A_SECOND) - 1, now
        inotify.dispatch()
        for app in heard.take():
            wake(app)
        if left < 0 or heard.is_over:
            loop.remove_reader(inotify.fileno())
            pause.set()

    try:
        inotify.add(os.fsencode(directory), OPEN | ONLYDIR, heard)
        while not heard.is_over:
            pause.clear()
            loop.add_reader(inotify.fileno(), read)
            await pause.wait()
            await asyncio.sleep(_PAUSE_S)
    finally:
        loop.remove_reader(inotify.fileno())
        inotify.close()


@dataclass(slots=True, eq=False)
class _Heard:
    """The apps whose files were opened since the last look."""

    directory: Path
    apps: set[str]
    is_over: bool
    look_from: float

    def __init__(self, directory: Path) -> None:
        self.directory, self.apps, self.is_over, self.look_from = directory, set(), False, float("-inf")

    def on_event(self, event: Event) -> None:
        if event.name and not event.mask & ISDIR:
            self.apps.add(os.fsdecode(event.name))

    def on_watch_deleted(self, wd: int) -> None:  # noqa: ARG002  there is one
        self.is_over = True

    def on_queue_overflow(self) -> None:
        if (now := time.monotonic()) < self.look_from:
            return
        self.look_from = now + _AGAIN_S  # all are looked at: two apps of one author can have that as often as they like
        with contextlib.suppress(OSError):
            self.apps.update(names_in(self.directory, _MOST))

    def take(self) -> set[str]:
        apps, self.apps = self.apps, set()
        return apps


def hear_workers_of_before(pipe: Path, instances: Woken) -> None:
    """Wake every app of these instances whose workers write into a pipe, as those of earlier versions do.

    Without an instance, which only an earlier daemon has started by now, the pipe is removed. The thread that reads it
    ends with the process: an app can make each read last.
    """
    loop = asyncio.get_running_loop()

    def read(opened: int) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            while True:
                for name in set(os.read(opened, _PIPE_AT_ONCE).decode("ascii", "replace").split()):
                    loop.call_soon_threadsafe(instances.on_wakeup, name)
                time.sleep(_PAUSE_S)

    with contextlib.suppress(OSError, RuntimeError):
        if not any(instances.all()) and not instances.unadopted:
            pipe.unlink()
            return
        opened = os.open(pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        if not stat.S_ISFIFO(os.fstat(opened).st_mode):
            os.close(opened)
        else:
            os.set_blocking(opened, True)
            threading.Thread(target=read, args=(opened,), name="workers of before", daemon=True).start()
