"""Follow the sources of apps to where their paths lead, and report a change once a source has been quiet for a moment.

Apps that share a path share a watch. What sends no events, such as a network file system, is found by looking now and
then; a source of which every change is noticed is read only when there was one, and seldom besides. A source that never
comes to rest is reported less and less often.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Protocol

from reconciler.convergence.ticks import next_tick
from reconciler.linux.followed_paths import FollowedPath, FollowedPaths, problems_of
from reconciler.linux.inotify import Change, WatchProblem
from reconciler.linux.mounts import Mounts
from reconciler.staging.concurrency import apart
from reconciler.staging.source.tree import ignored

# Sources are looked at in so many parts, and read at every so manieth look though nothing can have changed unseen.
_PARTS = 10
_SELDOM = 12
# The file system of a source that takes longer to answer hangs: no other source, and no manifest, waits for it.
_HANGS_S = 5.0


class Tracker(Protocol):
    """What is told of sources that may have changed."""

    def suspect(self, name: str) -> None:
        """Read the source of an app again soon."""
        ...


@dataclass(slots=True, kw_only=True)
class _Source:
    """One followed source with its apps, and the timer that fires once it has been quiet.

    `turned` says that a step of its path changed: what it leads to has to be watched before it is read. `mounts` is the
    table of before it was last read because of no event.
    """

    names: frozenset[str]
    followed: FollowedPath
    timer: asyncio.TimerHandle | None = None
    first_at: float = 0.0
    turned: bool = True
    mounts: Mounts | None = None


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

        A source that was not followed before, or cannot be watched, is reported as changed; later, if it hangs.
        """
        names: dict[str, set[str]] = {}
        for name, path in sources.items():
            names.setdefault(path, set()).add(name)
        for path in self._sources.keys() - names.keys():
            self._drop(path)
        mounts = await apart(Mounts.now) if names.keys() - self._sources.keys() else None
        due: dict[str, _Source] = {}
        for path, of_path in names.items():
            source = self._sources.get(path)
            if source is None:
                followed = self._followed(path)
                source = self._sources[path] = _Source(names=frozenset(of_path), followed=followed, mounts=mounts)
            elif not source.followed.problem:
                source.names = frozenset(of_path)
                continue
            source.names = frozenset(of_path)
            source.turned = True
            due[path] = source
        if due:
            try:
                await self._look(due)
            except BaseException:
                for path in due:
                    self._drop(path)  # and it is new at the next call
                raise

    async def _look(self, sources: Mapping[str, _Source]) -> None:
        """Watch what these paths lead to now, and report each once that is done; wait for none that hangs."""
        loop = asyncio.get_running_loop()

        def each() -> None:
            for path, source in sources.items():
                if source.turned:
                    source.turned = False
                    source.followed.renew()
                    loop.call_soon_threadsafe(self._report, path)

        looking = apart(each)
        await asyncio.wait((looking,), timeout=_HANGS_S)
        if looking.done():
            looking.result()
            return
        for path, source in sources.items():
            if source.turned:
                source.turned = False
                self._begin_to_look(path, source)

    async def look_now_and_then(self, every_s: float) -> None:
        """Look at each source once in that time, and report it where a change may have gone unnoticed."""
        for turn in count(1):
            paths = list(self._sources)
            for part in range(_PARTS):
                await next_tick(every_s / _PARTS)
                await self._look_at(paths[part::_PARTS], everything=turn % _SELDOM == 0)

    async def _look_at(self, paths: Collection[str], *, everything: bool) -> None:
        """Watch what these paths lead to now, and report those that may have changed unseen."""
        known = {path: source for path in paths if (source := self._sources.get(path)) is not None}
        sources = {path: source for path, source in known.items() if not source.followed.is_being_renewed}
        for source in sources.values():
            source.turned = False
        if sources:
            looking = apart(partial(_changed_unseen, sources))
            await asyncio.wait((looking,), timeout=_HANGS_S)  # one that hangs is left out next time
            for path in (sources if everything else looking.result()) if looking.done() else ():
                self._report(path)

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

    def _begin_to_look(self, path: str, source: _Source) -> None:
        """Watch what a path leads to now, and report it once that is done."""
        # First the watch, then the look: what happens between the two is seen twice rather than never.
        looking = apart(source.followed.renew)
        looking.add_done_callback(partial(self._looked, path))

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
        self._begin_to_look(path, source)

    def _looked(self, path: str, looking: "asyncio.Future[bool]") -> None:
        """Report a source, whatever the look at its path has come to."""
        if not looking.cancelled():
            looking.exception()  # no thread, no descriptor: the app's own task tells
            self._report(path)

    def _report(self, path: str) -> None:
        source = self._sources.get(path)
        for name in sorted(source.names) if source is not None else ():
            self._tracker.suspect(name)


def _changed_unseen(sources: Mapping[str, _Source]) -> list[str]:
    """Watch what these paths lead to now; return those below which a change may have caused no event. Blocks."""
    mounts = Mounts.now()
    found = [path for path, source in sources.items() if _may_have_changed_unseen(source, mounts)]
    for source in sources.values():
        source.mounts = mounts
    return found


def _may_have_changed_unseen(source: _Source, mounts: Mounts) -> bool:
    followed = source.followed
    leads_elsewhere = followed.renew()
    return (
        leads_elsewhere
        or followed.problem is not None
        or followed.leads_to is None
        or source.mounts != mounts
        or not mounts.notify_of_all_below(followed.leads_to)
    )
