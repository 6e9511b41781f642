"""Single files in, and what each is read for; a call on the loop out, with its path, once what happened has settled.

A file is what its path leads to: one that is missing, replaced or behind a link anywhere on its path is seen, too. What
sends no events is found whenever `follow` is called. A file whose disk does not answer holds up no other.
"""

import asyncio
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import TypeAlias

from reconciler.linux.daemon_threads import DaemonThreads
from reconciler.linux.followed_paths import FollowedPath, FollowedPaths
from reconciler.linux.inotify import Change, WatchProblem

# The absolute path of a file, and what it is read for.
Use: TypeAlias = tuple[str, str]

# What differs whenever a file was written or replaced.
_Stamp: TypeAlias = tuple[int, int, int, int, int]

# A look at a file that has not ended by then is not waited for.
_HANGS_S = 1.0

_threads = DaemonThreads("files", most=8, at_all=256)


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
        self._apart: dict[str, bool] = {}  # the paths that are looked at apart now; whether once more, then

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
        self._apart |= dict.fromkeys(new & self._apart.keys(), True)
        if due := sorted(paths - self._apart.keys()):
            changed = await self._looked_at(due)
            for path in sorted((new - self._apart.keys()).union(changed)):
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

    async def _looked_at(self, paths: Sequence[str]) -> Collection[str]:
        """Return those of the paths whose file is another, or was written; once one hangs, the rest is done apart."""
        each, changed = iter(paths), list[str]()
        looking = asyncio.wrap_future(_threads.run(partial(self._look, each, changed)))
        await asyncio.wait((looking,), timeout=_HANGS_S)
        if looking.done():
            looking.result()
            return changed
        rest = list(each)  # so that the thread ends after the one that hangs
        self._wait_apart(paths[len(paths) - len(rest) - 1], looking)
        for path in rest:
            self._look_apart(path)
        return tuple(changed)

    def _look(self, paths: Iterator[str], changed: list[str]) -> None:
        """Watch what the paths lead to now, and note those whose file is another, or was written. Blocks."""
        for path in paths:
            followed = self._followed.get(path)
            if followed is None:
                continue
            followed.renew()
            stamp = _stamp(path)
            if path in self._stamps and self._stamps[path] != stamp:
                changed.append(path)
            self._stamps[path] = stamp

    def _stir(self, path: str, _: Change | None = None) -> None:
        """Have a file looked at once nothing has happened to it for a moment."""
        timer = self._timers.pop(path, None)
        if timer is not None:
            timer.cancel()
        if path in self._followed:
            self._timers[path] = asyncio.get_running_loop().call_later(self._quiet_s, self._settled, path)

    def _settled(self, path: str) -> None:
        self._timers.pop(path, None)
        if path in self._apart:
            self._apart[path] = True
        else:
            self._look_apart(path)

    def _look_apart(self, path: str) -> None:
        """Look at a file on its own, and suspect it then."""
        try:
            looking = asyncio.wrap_future(_threads.run(partial(self._look, iter((path,)), [])))
        except RuntimeError:  # no thread: reading it tells
            self._suspect(path)
        else:
            self._wait_apart(path, looking)

    def _wait_apart(self, path: str, looking: "asyncio.Future[None]") -> None:
        self._apart[path] = False
        looking.add_done_callback(partial(self._looked, path))

    def _looked(self, path: str, looking: "asyncio.Future[None]") -> None:
        """Suspect a file, whatever the look at its path has come to."""
        again = self._apart.pop(path, False)
        if not looking.cancelled():
            looking.exception()  # no thread, no descriptor: reading it tells
            if again:
                self._look_apart(path)
            elif path in self._followed:
                self._suspect(path)


def _stamp(path: str) -> _Stamp | None:
    try:
        status = os.stat(path)  # noqa: PTH116  text
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
