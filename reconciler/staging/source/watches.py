"""Follow the sources of apps to where their paths lead, and report a change once a source has been quiet for a moment.

Apps that share a path share a watch. What sends no events, such as a network file system, is found by looking now and
then. A source that never comes to rest is reported less and less often.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from reconciler.linux.followed_paths import FollowedPath, FollowedPaths, problems_of
from reconciler.linux.inotify import Change, WatchProblem
from reconciler.staging.concurrency import apart
from reconciler.staging.source.tree import ignored


class Tracker(Protocol):
    """What is told of sources that may have changed."""

    def suspect(self, name: str) -> None:
        """Read the source of an app again soon."""
        ...


@dataclass(slots=True, kw_only=True)
class _Source:
    """One followed source with its apps, and the timer that fires once it has been quiet.

    `turned` says that a step of its path changed: what it leads to has to be watched before it is read.
    """

    names: frozenset[str]
    followed: FollowedPath
    timer: asyncio.TimerHandle | None = None
    first_at: float = 0.0
    turned: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Debounce:
    """How long a tree must be quiet before a change is reported, and the longest to wait for that, in seconds."""

    quiet_s: float = 0.3
    longest_s: float = 5.0


class SourceWatches:
    """The watches of all sources. A change makes the tracker suspect each app of that source."""

    def __init__(self, paths: FollowedPaths, tracker: Tracker, debounce: Debounce) -> None:
        self._paths = paths
        self._tracker = tracker
        self._debounce = debounce
        self._sources: dict[str, _Source] = {}

    async def follow(self, sources: Mapping[str, str]) -> None:
        """Follow exactly these sources, given as absolute paths by app name.

        A source that was not followed before, or cannot be watched, is reported as changed.
        """
        names: dict[str, set[str]] = {}
        for name, path in sources.items():
            names.setdefault(path, set()).add(name)
        for path in self._sources.keys() - names.keys():
            self._drop(path)
        for path, of_path in names.items():
            source = self._sources.get(path)
            if source is None:
                source = self._sources[path] = _Source(names=frozenset(of_path), followed=self._followed(path))
            elif not source.followed.problem:
                source.names = frozenset(of_path)
                continue
            source.names = frozenset(of_path)
            try:
                await self._look(path)
            except BaseException:
                self._drop(path)  # and it is new at the next call
                raise

    async def look_now_and_then(self, every_s: float) -> None:
        """Look at each source once in that time, whether or not anything was noticed."""
        while True:
            paths = list(self._sources)
            for path in paths:
                await asyncio.sleep(every_s / len(paths))
                await self._look(path)
            if not paths:
                await asyncio.sleep(every_s)

    def problems(self) -> dict[str, WatchProblem]:
        """Return the paths that cannot be watched, with the reason."""
        return problems_of([source.followed for source in self._sources.values()])

    def close(self) -> None:
        """End all watches."""
        for path in list(self._sources):
            self._drop(path)

    def _followed(self, path: str) -> FollowedPath:
        """Follow a path to a tree, or to an archive."""
        return self._paths.follow(
            path,
            "tree",
            on_step=partial(self._on_step, path),
            on_change=partial(self._on_change, path),
            ignore=ignored,
        )

    async def _look(self, path: str) -> None:
        """Watch what a path leads to now, and report it."""
        source = self._sources.get(path)
        if source is not None:
            source.turned = False
            await apart(source.followed.renew)
            self._report(path)

    def _drop(self, path: str) -> None:
        source = self._sources.pop(path)
        source.followed.close()
        if source.timer is not None:
            source.timer.cancel()

    def _on_step(self, path: str) -> None:
        source = self._sources.get(path)
        if source is not None:
            source.turned = True
            self._stir(path, source)

    def _on_change(self, path: str, _: Change) -> None:
        source = self._sources.get(path)
        if source is not None:
            self._stir(path, source)

    def _stir(self, path: str, source: _Source) -> None:
        """Have a source reported once nothing has happened to it for a moment."""
        loop = asyncio.get_running_loop()
        if source.timer is None:
            source.first_at = loop.time()
        else:
            source.timer.cancel()
        at = min(loop.time() + self._debounce.quiet_s, source.first_at + self._debounce.longest_s)
        source.timer = loop.call_at(at, self._settled, path)

    def _settled(self, path: str) -> None:
        source = self._sources.get(path)
        if source is None:
            return
        source.timer = None
        if not source.turned:
            self._report(path)
            return
        source.turned = False
        # First the watch, then the look: what happens between the two is seen twice rather than never.
        looking = apart(source.followed.renew)
        looking.add_done_callback(partial(self._looked, path))

    def _looked(self, path: str, looking: "asyncio.Future[bool]") -> None:
        """Report a source, whatever the look at its path has come to."""
        if not looking.cancelled():
            looking.exception()  # no thread, no descriptor: the app's own task tells
            self._report(path)

    def _report(self, path: str) -> None:
        source = self._sources.get(path)
        for name in sorted(source.names) if source is not None else ():
            self._tracker.suspect(name)
