"""Single files in, and what each is read for; a call on the loop out, with its path, once what happened has settled.

A file is what its path leads to: one that is missing, replaced or behind a link anywhere on its path is seen, too. What
sends no events is found whenever `follow` is called.
"""

import asyncio
import os
from collections.abc import Callable, Collection
from functools import partial
from typing import TypeAlias

from reconciler.linux.followed_paths import FollowedPath, FollowedPaths
from reconciler.linux.inotify import Change, WatchProblem

# The absolute path of a file, and what it is read for.
Use: TypeAlias = tuple[str, str]

# What differs whenever a file was written or replaced.
_Stamp: TypeAlias = tuple[int, int, int, int, int]


class Files:
    """The watches of every file that is followed. `suspect` is called on the loop with a file's path."""

    def __init__(self, paths: FollowedPaths, suspect: Callable[[str], None], quiet_s: float) -> None:
        self._paths = paths
        self._suspect = suspect
        self._quiet_s = quiet_s
        self._uses: frozenset[Use] = frozenset()
        self._followed: dict[str, FollowedPath] = {}
        self._stamps: dict[str, _Stamp | None] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def follow(self, uses: frozenset[Use]) -> None:
        """Follow exactly these. The file of a new use is suspected, and one that differs from when it was last."""
        new, self._uses = {path for path, _ in uses - self._uses}, frozenset()
        paths = {path for path, _ in uses}
        for path in self._followed.keys() - paths:
            self._followed.pop(path).close()
            self._stamps.pop(path, None)
        for path in paths - self._followed.keys():
            stir = partial(self._stir, path)
            self._followed[path] = self._paths.follow(path, "file", on_step=stir, on_change=stir)
        if paths:
            changed = await asyncio.to_thread(self._look, sorted(paths))
            for path in sorted(new.union(changed)):
                self._suspect(path)
        self._uses = uses  # last: after an error, all are new at the next call

    def problems(self) -> Collection[WatchProblem]:
        """Return why changes of files may go unseen until the next `follow`."""
        return [each.problem for each in self._followed.values() if each.problem is not None]

    def close(self) -> None:
        """Watch nothing any more."""
        for followed in self._followed.values():
            followed.close()
        for timer in self._timers.values():
            timer.cancel()
        self._followed, self._timers = {}, {}

    def _look(self, paths: Collection[str]) -> list[str]:
        """Watch what the paths lead to now, and return those whose file is another, or was written."""
        changed = []
        for path in paths:
            followed = self._followed.get(path)
            if followed is None:
                continue
            followed.renew()
            stamp = _stamp(path)
            if path in self._stamps and self._stamps[path] != stamp:
                changed.append(path)
            self._stamps[path] = stamp
        return changed

    def _stir(self, path: str, _: Change | None = None) -> None:
        """Have a file looked at once nothing has happened to it for a moment."""
        timer = self._timers.pop(path, None)
        if timer is not None:
            timer.cancel()
        if path in self._followed:
            self._timers[path] = asyncio.get_running_loop().call_later(self._quiet_s, self._settled, path)

    def _settled(self, path: str) -> None:
        self._timers.pop(path, None)
        looking = asyncio.get_running_loop().run_in_executor(None, self._look, [path])
        looking.add_done_callback(partial(self._looked, path))

    def _looked(self, path: str, looking: "asyncio.Future[list[str]]") -> None:
        """Suspect a file, whatever the look at its path has come to."""
        if not looking.cancelled():
            looking.exception()  # no thread, no descriptor: reading it tells
            if path in self._followed:
                self._suspect(path)


def _stamp(path: str) -> _Stamp | None:
    try:
        status = os.stat(path)  # noqa: PTH116  text
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
