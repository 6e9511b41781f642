"""Single files in, and what each is read for; a call on the loop out, with its path, once what happened has settled.

The folder of a file is watched, so that one that is missing, replaced or behind a link is seen, too. What cannot be
watched is suspected whenever `follow` is called.
"""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from reconciler.linux.inotify import Change, Watch, Watched

# The absolute path of a file, and what it is read for.
Use: TypeAlias = tuple[str, str]


class Files:
    """The watches of every file that is followed. `suspect` is called on the loop with a file's path."""

    def __init__(self, watch: Watch, suspect: Callable[[str], None], quiet_s: float) -> None:
        self._watch = watch
        self._suspect = suspect
        self._quiet_s = quiet_s
        self._folders: dict[str, Watched] = {}
        self._uses: frozenset[Use] = frozenset()
        self._paths: frozenset[str] = frozenset()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def follow(self, uses: frozenset[Use]) -> None:
        """Follow exactly these. The file of a new use is suspected, and one that cannot be watched, or is a link."""
        new, self._uses = {path for path, _ in uses - self._uses}, uses
        paths = self._paths = frozenset(path for path, _ in uses)
        folders = {os.path.dirname(path) for path in paths}  # noqa: PTH120  plain text in, plain text out
        for folder in [f for f, watched in self._folders.items() if f not in folders or watched.problem]:
            self._folders.pop(folder).close()
        for folder in folders - self._folders.keys():
            self._folders[folder] = await asyncio.to_thread(self._watch.folder, folder, partial(self._stir, folder))
        for path in sorted(paths):
            watched = self._folders[os.path.dirname(path)]  # noqa: PTH120  the same
            if path in new or watched.problem or os.path.islink(path):  # noqa: PTH114  the same
                self._suspect(path)

    def close(self) -> None:
        """Watch nothing any more."""
        for watched in self._folders.values():
            watched.close()
        for timer in self._timers.values():
            timer.cancel()
        self._folders, self._timers = {}, {}

    def _stir(self, folder: str, change: Change) -> None:
        """Return whether an event may concern a path; a link may lead through any name in its directory."""
        for path in self._paths:
            within, name = os.path.split(path)
            if within == folder and (change.name in {"", name} or os.path.islink(path)):  # noqa: PTH114  the same
                timer = self._timers.pop(path, None)
                if timer is not None:
                    timer.cancel()
                loop = asyncio.get_running_loop()
                self._timers[path] = loop.call_later(self._quiet_s, self._settled, path)

    def _settled(self, path: str) -> None:
        self._timers.pop(path, None)
        self._suspect(path)
