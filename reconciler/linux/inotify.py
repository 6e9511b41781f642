"""Watch directories and trees, and call back on the loop whenever something in them may have changed.

However many trees are watched, one inotify descriptor and one thread read for all of them. Reading files causes no
event. Running into a limit of the host is a `problem`, to be met by polling, and never an exception.
"""

import errno
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from enum import StrEnum

from reconciler.linux.dataclass import dataclass
from reconciler.linux.inotify_descriptor import (
    ATTRIB,
    CLOSE_WRITE,
    CREATE,
    DELETE,
    DELETE_SELF,
    DONT_FOLLOW,
    ISDIR,
    MODIFY,
    MOVE_SELF,
    MOVED_FROM,
    MOVED_TO,
    ONLYDIR,
    UNMOUNT,
    Event,
    shared_inotify,
)

# Opening, reading and closing unwritten are left out: the daemon does these itself.
_NAMES = ATTRIB | MOVED_FROM | MOVED_TO | CREATE | DELETE | DELETE_SELF | MOVE_SELF | ONLYDIR
_MASK = _NAMES | MODIFY | CLOSE_WRITE
_GONE = DELETE | MOVED_FROM
_COMPLETE = CLOSE_WRITE | MOVED_TO | _GONE
_ROOT_LOST = DELETE_SELF | MOVE_SELF | UNMOUNT


class WatchFailure(StrEnum):
    """Why a directory is not watched."""

    WATCH_LIMIT = "watch-limit"
    INSTANCE_LIMIT = "instance-limit"
    REMOVED = "removed"
    STORM = "storm"
    TOO_LARGE = "too-large"
    ERROR = "error"

    @property
    def is_limit(self) -> bool:
        """Whether a limit of the host is reached, whatever directory is to be watched."""
        return self in (WatchFailure.WATCH_LIMIT, WatchFailure.INSTANCE_LIMIT)


_LIMITS = {
    errno.ENOSPC: (
        WatchFailure.WATCH_LIMIT,
        "the host's limit of watches is reached; raise fs.inotify.max_user_watches",
    ),
    errno.EMFILE: (
        WatchFailure.INSTANCE_LIMIT,
        "the host's limit of watchers is reached; raise fs.inotify.max_user_instances",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchProblem:
    """Why changes in a directory may go unseen."""

    failure: WatchFailure
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of `name`, relative to its directory; an empty name says that anything may have changed.

    `complete`: nothing more is being written to it. `gone`: it was deleted or moved away. `arrived`: it was moved here.
    `created`: it is new here, and no directory.
    """

    name: str
    complete: bool
    gone: bool = False
    arrived: bool = False
    created: bool = False


# So many lost watches in a few seconds, and the other trees hear of their changes too late. A look through a thousand
# watches counts as one.
_MOST_LOST, _STORM_S, _REST_S, _LONG_REST_S = 3000, 5.0, 60.0, 900.0
_LOOKED_THROUGH = 1000
# The directories of one tree: those of a whole host would cost memory and time of every other tree. Once it has some,
# the rest is counted before it is watched: to end thousands of watches at once overflows what tells of all trees.
_MOST_DIRECTORIES, _COUNTED_FROM = 20_000, 2_000

EVERYTHING = Change(name="", complete=True)


def nothing(_: str) -> bool:
    """Ignore no name."""
    return False


class Watch:
    """Factory of watches that report through `deliver`, which runs a function on the loop from any thread.

    No tree that is watched includes the directory `left_out`, which its owner changes all the time.
    """

    def __init__(self, deliver: Callable[[Callable[[], None]], object], *, left_out: str = "") -> None:
        self._deliver = deliver
        self._left_out = os.path.realpath(left_out) if left_out else ""

    def tree(self, path: str, on_change: Callable[[Change], None], ignore: Callable[[str], bool]) -> "Watched":
        """Watch a directory and everything below it but ignored names; symbolic links below are not followed.

        Walk the whole tree, so call it in a thread.
        """
        return Watched(path, on_change, ignore, self._deliver, deep=True, left_out=self._left_out)

    def folder(
        self,
        path: str,
        on_change: Callable[[Change], None],
        ignore: Callable[[str], bool] = nothing,
        *,
        content: bool = True,
    ) -> "Watched":
        """Watch what is directly in a directory; without `content`, only which names there are."""
        return Watched(path, on_change, ignore, self._deliver, deep=False, content=content)


class Watched:
    """One watched directory or tree. `problem` says why changes may go unseen; None while all are seen."""

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        path: str,
        on_change: Callable[[Change], None],
        ignore: Callable[[str], bool],
        deliver: Callable[[Callable[[], None]], object],
        *,
        deep: bool,
        content: bool = True,
        left_out: str = "",
    ) -> None:
        self.path = path
        self._left_out = os.fsencode(left_out)
        self.problem: WatchProblem | None = None
        self._on_change = on_change
        self._ignore = ignore
        self._deliver = deliver
        self._deep = deep
        self._mask = _MASK if content else _NAMES
        self._root = -1
        # Watch descriptor to the directory's path. Two threads fill it: the caller's while walking, and the reader's
        # when directories appear.
        self._directories: dict[int, bytes] = {}
        self._filling = threading.Lock()
        self._closed = False
        # Filled by the reader, emptied on the loop, both one item at a time.
        self._pending: dict[str, Change] = {}
        self._scheduled = False
        self._lost_count, self._counted_since = 0, 0.0
        self._rests_until = 0.0
        self._add(os.fsencode(path), is_root=True)

    def close(self) -> None:
        """Stop watching; nothing is delivered afterwards."""
        with self._filling:
            self._closed = True
            directories, self._directories = self._directories, {}
            self._unwatch(directories)

    @property
    def rests(self) -> bool:
        """Whether the tree is not to be watched again yet, as it took too much of what watches all trees."""
        return time.monotonic() < self._rests_until

    def on_event(self, event: Event) -> None:
        """Note an event of the kernel; runs on the reader's thread."""
        directory = self._directories.get(event.wd)
        if directory is None:
            return
        if not event.name:
            if event.wd == self._root and event.mask & _ROOT_LOST:
                self._lost()
            elif event.wd == self._root and event.mask & ATTRIB:
                self._note(Change(name="", complete=False))
            return
        name = os.fsdecode(event.name)
        if self._ignore(name):
            return
        if self._deep and event.mask & ISDIR:
            below = directory + b"/" + event.name
            if event.mask & _GONE:
                self._drop(below)
            elif event.mask & (CREATE | MOVED_TO) and below != self._left_out:
                self._add(below)
        # A change of mode or times says nothing about whether a file is still being written.
        if event.mask & ATTRIB and name in self._pending:
            return
        complete, gone = bool(event.mask & _COMPLETE), bool(event.mask & _GONE)
        created = event.mask & (CREATE | ISDIR) == CREATE
        arrived = bool(event.mask & MOVED_TO)
        self._note(Change(name=name, complete=complete, gone=gone, arrived=arrived, created=created))

    def on_watch_deleted(self, wd: int) -> None:
        """Forget a watch that the kernel removed: its directory is gone, or its file system unmounted."""
        if self._directories.pop(wd, None) is not None:
            self._count_lost(1)
            if wd == self._root:
                self._lost()

    def on_queue_overflow(self) -> None:
        """Report that anything may have changed, and watch directories that may have appeared unseen."""
        if self._deep and self._root in self._directories:
            self._add(os.fsencode(self.path), is_root=True)
        self._note(EVERYTHING)

    def _lost(self) -> None:
        self.problem = WatchProblem(failure=WatchFailure.REMOVED, text=f"cannot watch {self.path}: it is gone")
        self._note(EVERYTHING)

    def _note(self, change: Change) -> None:
        if self._closed:
            return
        self._pending[change.name] = change
        if not self._scheduled:
            self._scheduled = True
            with suppress(RuntimeError):  # the loop is closed
                self._deliver(self._hand_over)

    def _hand_over(self) -> None:
        # In this order: a later change is either seen below or schedules the next call.
        self._scheduled = False
        while self._pending:
            _, change = self._pending.popitem()
            if not self._closed:
                self._on_change(change)

    def _add(self, directory: bytes, *, is_root: bool = False) -> None:
        """Watch a directory, and those in it."""
        todo = [directory]
        while todo:
            if self._is_too_large(todo):
                return
            here = todo.pop()
            try:
                wd = self._watch(here, self._mask if is_root else self._mask | DONT_FOLLOW)
                if wd is None:
                    return
                if is_root:
                    self._root, is_root = wd, False
                if self._deep:
                    todo.extend(self._directories_in(here))
            except OSError as error:
                if is_root or error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    self._fail(here, error, tell=not is_root)
                if error.errno in _LIMITS or is_root:
                    return

    def _watch(self, directory: bytes, mask: int) -> int | None:
        with self._filling:
            if self._closed or self._rests_until:
                return None
            wd = shared_inotify().add(directory, mask, self)
            self._directories[wd] = directory
        return wd

    def _is_too_large(self, todo: Sequence[bytes]) -> bool:
        """Whether there are more directories than are watched, with these and those below.

        None is watched then; of a tree that has become so, no further one.
        """
        if len(self._directories) != _COUNTED_FROM and len(self._directories) < _MOST_DIRECTORIES:
            return False
        counted, waiting = len(self._directories), [*todo]
        while waiting and counted <= _MOST_DIRECTORIES:
            counted += 1
            with suppress(OSError):
                waiting.extend(self._directories_in(waiting.pop()))
        if counted > _MOST_DIRECTORIES and not self._rests_until:
            self._rest(WatchFailure.TOO_LARGE, f"it has more than {_MOST_DIRECTORIES:,} directories")
        return counted > _MOST_DIRECTORIES

    def _directories_in(self, directory: bytes) -> Iterator[bytes]:
        with os.scandir(directory) as entries:
            for entry in entries:
                passed_over = entry.path == self._left_out or self._ignore(os.fsdecode(entry.name))
                if entry.is_dir(follow_symlinks=False) and not passed_over:
                    yield entry.path

    def _drop(self, directory: bytes) -> None:
        """Forget a directory that was moved away, and those in it, before they are seen again elsewhere."""
        with self._filling:
            below = directory + b"/"
            found = [wd for wd, path in self._directories.items() if (path + b"/").startswith(below)]
            cost = len(found) + len(self._directories) // _LOOKED_THROUGH
            for wd in found:
                del self._directories[wd]
            self._unwatch(found)
        self._count_lost(cost)

    def _count_lost(self, number: int) -> None:
        """Rest where directories come and go so fast that other trees would have to wait."""
        now = time.monotonic()
        if now - self._counted_since > _STORM_S:
            self._lost_count, self._counted_since = 0, now
        self._lost_count += number
        if self._lost_count > _MOST_LOST and not self._rests_until:
            self._rest(WatchFailure.STORM, "its directories are moved or removed again and again")

    def _rest(self, failure: WatchFailure, why: str) -> None:
        """Watch nothing of the tree for a while, or nothing more."""
        is_storm = failure is WatchFailure.STORM
        with self._filling:
            self._rests_until = time.monotonic() + (_REST_S if is_storm else _LONG_REST_S)
            if is_storm or len(self._directories) <= _COUNTED_FROM:
                directories, self._directories = self._directories, {}
                self._unwatch(directories)
        self.problem = WatchProblem(failure=failure, text=f"cannot watch {self.path}: {why}")
        self._note(EVERYTHING)

    def _unwatch(self, wds: Collection[int]) -> None:
        if wds:
            shared_inotify().remove(wds, self)

    def _fail(self, directory: bytes, error: OSError, *, tell: bool) -> None:
        """Note why a directory is not watched; the caller that watches the root looks afterwards, and is not told."""
        failure, reason = _LIMITS.get(error.errno or 0, (WatchFailure.ERROR, error.strerror or str(error)))
        self.problem = WatchProblem(failure=failure, text=f"cannot watch {os.fsdecode(directory)}: {reason}")
        if tell:
            self._note(Change(name="", complete=False))
