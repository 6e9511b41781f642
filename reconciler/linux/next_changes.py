"""Tell once of a directory that something in it has changed, to those who then look at it, and not before.

A directory in which nothing happens costs nothing. One that cannot be watched has to be looked at now and then.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from functools import partial
from typing import Generic, TypeVar

from reconciler.linux.inotify_descriptor import (
    ATTRIB,
    CREATE,
    DELETE,
    DELETE_SELF,
    MODIFY,
    MOVE_SELF,
    MOVED_FROM,
    MOVED_TO,
    ONLYDIR,
    Event,
    Inotify,
    shared_inotify,
)

Key = TypeVar("Key", bound=Hashable)

_NAMES = CREATE | DELETE | MOVED_FROM | MOVED_TO | ATTRIB | DELETE_SELF | MOVE_SELF | ONLYDIR
_CONTENT = _NAMES | MODIFY


class NextChanges(Generic[Key]):
    """The directories of which the next change is awaited, by key; `happened` is set once there are some to take.

    `deliver` runs a function on the loop from any thread. With `content`, what is written to a file that is directly in
    a directory is a change of it; without, only names are.
    """

    def __init__(self, deliver: Callable[[Callable[[], None]], object], *, content: bool) -> None:
        self.happened = asyncio.Event()
        self._deliver = deliver
        self._mask = _CONTENT if content else _NAMES
        self._inotify: Inotify | None = None
        self._keys: dict[int, Key] = {}  # by watch; the reader's thread takes out what has changed
        self._watches: dict[Key, int] = {}
        self._changed: set[Key] = set()

    def ask(self, key: Key, directory: str) -> bool:
        """Await the next change in a directory; return False if it cannot be watched.

        Look at it after asking, as changes from before are not told.
        """
        if key in self._watches:
            return True
        try:
            self._inotify = self._inotify or shared_inotify()
            watch = self._inotify.add(directory.encode(errors="surrogateescape"), self._mask, self)
        except OSError:
            return False
        self._watches[key] = watch
        self._keys[watch] = key
        return True

    def tell(self, key: Key) -> None:
        """Take it that something in a directory has changed, whether or not it is watched."""
        self.forget((key,))
        self._changed.add(key)
        self.happened.set()

    def take(self) -> frozenset[Key]:
        """Return of which directories something has changed since the last call; each has to be asked for again."""
        changed, self._changed = frozenset(self._changed), set()
        self.happened.clear()
        return changed

    def forget(self, keys: Iterable[Key]) -> None:
        """Await no change of these any more."""
        for key in keys:
            watch = self._watches.pop(key, None)
            if watch is not None and self._keys.pop(watch, None) is not None and self._inotify is not None:
                self._inotify.remove((watch,), self)

    def on_event(self, event: Event) -> None:
        """Note an event of the kernel; runs on the reader's thread."""
        if event.mask & self._mask and event.wd in self._keys and self._inotify is not None:
            self._inotify.remove((event.wd,), self)
            self._pass_on((event.wd,))

    def on_watch_deleted(self, wd: int) -> None:
        """Take a directory that was deleted for changed; runs on the reader's thread."""
        self._pass_on((wd,))

    def on_queue_overflow(self) -> None:
        """Take every directory for changed, as some may have; runs on the reader's thread."""
        watches = tuple(self._keys)
        if self._inotify is not None:
            self._inotify.remove(watches, self)
        self._pass_on(watches)

    def _pass_on(self, watches: Iterable[int]) -> None:
        keys = [self._keys.pop(watch) for watch in watches if watch in self._keys]
        with suppress(RuntimeError):  # the loop has ended
            self._deliver(partial(self._tell_of, keys))

    def _tell_of(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.tell(key)
