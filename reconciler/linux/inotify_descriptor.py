"""Wrap the kernel's inotify(7): one descriptor, its watches, and who listens to each.

Listeners that watch the same directory share the kernel's watch, which ends with the last of them. Every method but
`dispatch` may be called from any thread.
"""

import ctypes
import errno
import os
import struct
import threading
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Protocol

from reconciler.linux.dataclass import dataclass

# From <sys/inotify.h>.
MODIFY, ATTRIB, CLOSE_WRITE, OPEN, MOVED_FROM, MOVED_TO = 0x2, 0x4, 0x8, 0x20, 0x40, 0x80
CREATE, DELETE, DELETE_SELF, MOVE_SELF = 0x100, 0x200, 0x400, 0x800
UNMOUNT, Q_OVERFLOW, IGNORED = 0x2000, 0x4000, 0x8000
ONLYDIR, DONT_FOLLOW, MASK_ADD, ISDIR = 0x1000000, 0x2000000, 0x20000000, 0x40000000

_HEAD = struct.Struct("iIII")  # wd, mask, cookie, and the length of the name that follows, its padding included
_BUFFER = 64 * 1024
_REMOVED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the kernel: the watch, its mask, and the name inside the directory, empty for the directory."""

    wd: int
    mask: int
    name: bytes


class Listener(Protocol):
    """Receiver of a watch's events, on the thread that dispatches them."""

    def on_event(self, event: Event) -> None:
        """Take one event of a watch."""
        ...

    def on_watch_deleted(self, wd: int) -> None:
        """Learn that the kernel removed a watch: its directory was deleted, or its file system unmounted."""
        ...

    def on_queue_overflow(self) -> None:
        """Learn that the kernel dropped events."""
        ...


class Inotify:
    """An inotify descriptor, closed on exec. Raises OSError if the user has too many of them."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.inotify_add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]
        self._fd = self._checked(self._libc.inotify_init1(os.O_CLOEXEC))
        self._listeners: dict[int, set[Listener]] = {}
        self._changing = threading.Lock()

    def add(self, directory: bytes, mask: int, listener: Listener) -> int:
        """Hand the events of a directory to `listener`; return the watch's descriptor. Raises OSError.

        Listeners that share a watch get what any of them asked for.
        """
        with self._changing:
            wd = self._checked(self._libc.inotify_add_watch(self._fd, directory, mask | MASK_ADD))
            self._listeners.setdefault(wd, set()).add(listener)
        return wd

    def remove(self, wds: Iterable[int], listener: Listener) -> None:
        """Stop handing events of these watches to `listener`."""
        left = iter(wds)
        while some := list(islice(left, _REMOVED_AT_ONCE)):  # each is an event, to be read before there are too many
            with self._changing:
                for wd in some:
                    self._remove(wd, listener)

    def _remove(self, wd: int, listener: Listener) -> None:
        listeners = self._listeners.get(wd, set())
        listeners.discard(listener)
        if wd in self._listeners and not listeners:
            del self._listeners[wd]
            self._libc.inotify_rm_watch(self._fd, wd)  # fails for one that the kernel removed just now

    def dispatch(self) -> None:
        """Block until there are events, and hand each to its listeners."""
        for event in _events(os.read(self._fd, _BUFFER)):
            if event.mask & Q_OVERFLOW:
                for listener in self._everyone():
                    listener.on_queue_overflow()
            elif event.mask & IGNORED:
                with self._changing:
                    lost = self._listeners.pop(event.wd, set())
                for listener in lost:
                    listener.on_watch_deleted(event.wd)
            else:
                with self._changing:
                    listeners = list(self._listeners.get(event.wd, ()))
                for listener in listeners:
                    listener.on_event(event)

    def dispatch_forever(self) -> None:
        """Dispatch until the process ends."""
        while True:
            self.dispatch()

    def fileno(self) -> int:
        """Return the descriptor, which can be read once there are events."""
        return self._fd

    def close(self) -> None:
        """End every watch; nothing may be dispatching."""
        os.close(self._fd)

    def _everyone(self) -> set[Listener]:
        with self._changing:
            return set().union(*self._listeners.values())

    @staticmethod
    def _checked(result: int) -> int:
        if result == -1:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result


def shared_inotify() -> Inotify:
    """Return the process's one descriptor, with the thread that reads it; both begin with the first use."""
    global _shared  # noqa: PLW0603  one descriptor and one thread, however many parts of the process watch something
    with _sharing:
        if _shared is None:
            inotify = Inotify()
            try:
                threading.Thread(target=inotify.dispatch_forever, name="inotify", daemon=True).start()
            except RuntimeError as error:
                inotify.close()
                raise OSError(errno.EAGAIN, "no thread can be started") from error
            _shared = inotify
        return _shared


_shared: Inotify | None = None
_sharing = threading.Lock()


def _events(block: bytes) -> Iterator[Event]:
    at = 0
    while at < len(block):
        wd, mask, _, length = _HEAD.unpack_from(block, at)
        at += _HEAD.size
        yield Event(wd, mask, block[at : at + length].rstrip(b"\0"))
        at += length
