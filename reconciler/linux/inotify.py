"""Directories in; a call on the loop out whenever something in them may have changed.

However many trees are watched, one inotify descriptor and one thread read for all of them. Reading files causes no
event here. Running into the host's limits is a `problem` to be met by polling, never an exception.
"""

import errno
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from watchdog.observers.inotify_c import InotifyEvent, InotifyFD

# From <sys/inotify.h>. Opening, reading and closing unwritten are left out: they are what we do ourselves.
_MODIFY, _ATTRIB, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO = 0x2, 0x4, 0x8, 0x40, 0x80
_CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF = 0x100, 0x200, 0x400, 0x800
_UNMOUNT = 0x2000
_ONLYDIR, _DONT_FOLLOW, _ISDIR = 0x1000000, 0x2000000, 0x40000000
_MASK = (
    _MODIFY
    | _ATTRIB
    | _CLOSE_WRITE
    | _MOVED_FROM
    | _MOVED_TO
    | _CREATE
    | _DELETE
    | _DELETE_SELF
    | _MOVE_SELF
    | _ONLYDIR
)
_GONE = _DELETE | _MOVED_FROM
_WHOLE = _CLOSE_WRITE | _MOVED_TO | _GONE
_ROOT_LOST = _DELETE_SELF | _MOVE_SELF | _UNMOUNT

_LIMITS = {
    errno.ENOSPC: "the host's limit of watches is reached; raise fs.inotify.max_user_watches",
    errno.EMFILE: "the host's limit of watchers is reached; raise fs.inotify.max_user_instances",
}


def is_limit(problem: str) -> bool:
    """Whether a `problem` is one of the host's limits, and not of what is to be watched."""
    return any(problem.endswith(limit) for limit in _LIMITS.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something happened to `name` (without its directory); an empty name says that anything may have changed.

    `whole`: nothing more is being written to it. `gone`: it was deleted or moved away.
    """

    name: str
    complete: bool
    gone: bool = False


EVERYTHING = Change(name="", complete=True)


def nothing(_: str) -> bool:
    """Ignore no name."""
    return False


class Watch:
    """Starts watches whose changes are handed to `deliver`, which runs a function on the loop from any thread."""

    def __init__(self, deliver: Callable[[Callable[[], None]], object]) -> None:
        self._deliver = deliver

    def tree(self, path: str, on_change: Callable[[Change], None], ignore: Callable[[str], bool]) -> "Watched":
        """Watch a directory and everything below it but ignored names; symbolic links below are not followed.

        Walks the whole tree, so call it in a thread.
        """
        return Watched(path, on_change, ignore, self._deliver, deep=True)

    def folder(
        self, path: str, on_change: Callable[[Change], None], ignore: Callable[[str], bool] = nothing
    ) -> "Watched":
        """Watch what is directly in a directory."""
        return Watched(path, on_change, ignore, self._deliver, deep=False)


class Watched:
    """One watched directory or tree. `problem` says why changes may go unseen; it is empty when all is well."""

    def __init__(
        self,
        path: str,
        on_change: Callable[[Change], None],
        ignore: Callable[[str], bool],
        deliver: Callable[[Callable[[], None]], object],
        *,
        deep: bool,
    ) -> None:
        self.path = path
        self.problem = ""
        self._on_change = on_change
        self._ignore = ignore
        self._deliver = deliver
        self._deep = deep
        self._root = -1
        # Watch descriptor to the directory's path and the number of our callback there. Two threads fill it: the
        # caller's while walking, the reader's when directories appear.
        self._places: dict[int, tuple[bytes, int]] = {}
        self._filling = threading.Lock()
        self._closed = False
        # Filled by the reader, emptied on the loop, both one item at a time.
        self._pending: dict[str, Change] = {}
        self._scheduled = False
        self._add(os.fsencode(path), is_root=True)

    def close(self) -> None:
        """Watch no longer; nothing is delivered afterwards."""
        with self._filling:
            self._closed = True
            places, self._places = self._places, {}
        self._forget(places)

    def on_event(self, event: "InotifyEvent") -> None:
        """Note what the kernel says; runs on the reader's thread."""
        place = self._places.get(event.wd)
        if place is None:
            return
        if not event.name:
            if event.wd == self._root and event.mask & _ROOT_LOST:
                self._lost()
            elif event.wd == self._root and event.mask & _ATTRIB:
                self._note(Change(name="", complete=False))
            return
        name = os.fsdecode(event.name)
        if self._ignore(name):
            return
        if self._deep and event.mask & _ISDIR:
            directory = place[0] + b"/" + event.name
            if event.mask & _GONE:
                self._drop(directory)
            elif event.mask & (_CREATE | _MOVED_TO):
                self._add(directory)
        whole = bool(event.mask & _WHOLE)
        # A change of mode or times says nothing about whether a file is still being written.
        if event.mask & _ATTRIB and name in self._pending:
            return
        self._note(Change(name=name, complete=whole, gone=bool(event.mask & _GONE)))

    def on_watch_deleted(self, wd: int) -> None:
        """The kernel has dropped a watch: its directory is gone, or its file system unmounted."""
        if self._places.pop(wd, None) is not None and wd == self._root:
            self._lost()

    def on_queue_overflow(self) -> None:
        """Events were lost, and with them perhaps new directories."""
        if self._deep and self._root in self._places:
            self._add(os.fsencode(self.path), is_root=True)
        self._note(EVERYTHING)

    def _lost(self) -> None:
        self.problem = f"cannot watch {self.path}: it is gone"
        self._note(EVERYTHING)

    def _note(self, change: Change) -> None:
        if self._closed:
            return
        self._pending[change.name] = change
        if not self._scheduled:
            self._scheduled = True
            with suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                self._deliver(self._hand_over)

    def _hand_over(self) -> None:
        # In this order: what is noted from here on is either seen below or schedules the next call.
        self._scheduled = False
        while self._pending:
            _, change = self._pending.popitem()
            if not self._closed:
                self._on_change(change)

    def _add(self, directory: bytes, *, is_root: bool = False) -> None:
        """Watch a directory, and those in it."""
        todo = [directory]
        while todo:
            here = todo.pop()
            try:
                wd = self._watch(here, _MASK if is_root else _MASK | _DONT_FOLLOW)
                if wd is None:
                    return
                if is_root:
                    self._root, is_root = wd, False
                if self._deep:
                    todo.extend(self._directories_in(here))
            except OSError as error:
                if is_root or error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    self._fail(here, error)
                if error.errno in _LIMITS or is_root:
                    return

    def _watch(self, directory: bytes, mask: int) -> int | None:
        inotify: Any = _reader()
        number = next(_numbers)
        with self._filling:
            if self._closed:
                return None
            wd = int(inotify.add_callback(directory, mask, self, number))
            if wd == -1:  # how watchdog reports a directory that may not be read
                inotify.remove_callbacks([(wd, number)])
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            known = self._places.get(wd)
            self._places[wd] = (directory, number)
        if known:
            inotify.remove_callbacks([(wd, known[1])])
        return wd

    def _directories_in(self, directory: bytes) -> Iterator[bytes]:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and not self._ignore(os.fsdecode(entry.name)):
                    yield entry.path

    def _drop(self, directory: bytes) -> None:
        """Forget a directory that was moved away, and those in it, before they are seen again elsewhere."""
        with self._filling:
            below = directory + b"/"
            found = {wd: place for wd, place in self._places.items() if (place[0] + b"/").startswith(below)}
            for wd in found:
                del self._places[wd]
        self._forget(found)

    def _forget(self, places: dict[int, tuple[bytes, int]]) -> None:
        if places:
            inotify: Any = _reader()
            inotify.remove_callbacks([(wd, number) for wd, (_, number) in places.items()])

    def _fail(self, directory: bytes, error: OSError) -> None:
        reason = _LIMITS.get(error.errno or 0, error.strerror or str(error))
        self.problem = f"cannot watch {os.fsdecode(directory)}: {reason}"
        self._note(Change(name="", complete=False))


_numbers = itertools.count(1)


def _reader() -> "InotifyFD":
    """The process's one reader, started when first needed, whose descriptor is not left to the programs we start."""
    from watchdog.observers.inotify_c import InotifyFD

    inotify = InotifyFD.get_instance()
    os.set_inheritable(inotify._inotify_fd, False)  # noqa: SLF001  # watchdog opens it without CLOEXEC
    return inotify
