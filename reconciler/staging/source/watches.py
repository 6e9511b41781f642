"""Follow the sources of apps to where their paths lead, and report a change once it is complete.

What was moved into place is complete, as are a new link and a whole archive; a saved file is in a moment, and what git
checks out when git is done; all else is once it has been quiet for a while. Apps that share a path share a watch. What
sends no events, such as a network file system, is found by looking now and then; a source of which every change is
noticed is read only when there was one, and seldom besides. A source that never comes to rest is reported less and less
often.
"""

import asyncio
from collections.abc import Collection, Mapping
from functools import partial
from itertools import count
from typing import Protocol

from reconciler.convergence.ticks import next_tick
from reconciler.linux.dataclass import dataclass
from reconciler.linux.followed_paths import FollowedPath, FollowedPaths, problems_of
from reconciler.linux.inotify import Change, WatchProblem
from reconciler.linux.mounts import Mounts
from reconciler.staging.concurrency import apart
from reconciler.staging.source.bursts import Burst
from reconciler.staging.source.checkouts import is_being_checked_out
from reconciler.staging.source.completeness import is_complete
from reconciler.staging.source.tree import ignored

# Sources are looked at in so many parts, and read at every so manieth look though nothing can have changed unseen.
_PARTS = 10
_SELDOM = 12
# The file system of a source that takes longer to answer hangs: no other source, and no manifest, waits for it.
_HANGS_S = 1.0
# What is moved into place again and again is read no more often than this without a rest.
_ARRIVALS_S = 1.0
# How often a lock of git is looked at, and how long it may be held.
_LOCK_S = 0.05
_LONGEST_LOCK_S = 600.0


class Tracker(Protocol):
    """What is told of sources that may have changed."""

    def suspect(self, name: str, quiet_s: float = ...) -> None:
        """Read the source of an app again soon, once no file of it has changed for so long."""
        ...


@dataclass(slots=True, kw_only=True)
class _Source:
    """One followed source with its apps, and the timer that fires once it has been quiet.

    `burst` is what happens to it, None while nothing does. `turned` says that a step of its path changed: what it leads
    to has to be watched before it is read. `is_locked` says that git is writing there, `is_read` that a step is read to
    tell whether it is complete, and `to_read` is one to read after that. `arrived_at` is when it was last reported
    because it was moved into place. `mounts` is the table of before it was last read because of no event.
    """

    names: frozenset[str]
    followed: FollowedPath
    timer: asyncio.TimerHandle | None = None
    burst: Burst | None = None
    turned: bool = True
    is_locked: bool = False
    is_read: bool = False
    to_read: str = ""
    arrived_at: float = float("-inf")
    mounts: Mounts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Debounce:
    """How long a tree must be quiet before a change is reported, and the longest to wait for that, in seconds."""

    quiet_s: float = 0.3
    longest_s: float = 5.0

    @property
    def saved_s(self) -> float:
        """How long after one file was saved."""
        return self.quiet_s / 3


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
        followed = self._paths.follow(
            path,
            "tree",
            on_step=partial(self._on_step, path),
            on_change=partial(self._on_change, path),
            ignore=ignored,
        )
        followed.on_arrival = partial(self._on_arrival, path)
        followed.on_ended = partial(self._on_ended, path)
        return followed

    def _begin_to_look(self, path: str, source: _Source, quiet_s: float | None = None) -> None:
        """Watch what a path leads to now, and report it once that is done, unless git is writing there."""
        # First the watch, then the look: what happens between the two is seen twice rather than never.
        renews, source.turned = source.turned, False
        burst, source.burst = source.burst or Burst(asyncio.get_running_loop().time()), None
        ago_s = asyncio.get_running_loop().time() - burst.began_at
        try:
            looking = apart(partial(_is_locked, source.followed, ago_s, renews=renews))
        except RuntimeError:  # no thread: the app's own task tells
            self._report(path)
            return
        looking.add_done_callback(partial(self._looked, path, burst, quiet_s))

    def _drop(self, path: str) -> None:
        source = self._sources.pop(path)
        source.followed.close()
        if source.timer is not None:
            source.timer.cancel()

    def _on_step(self, path: str) -> None:
        source = self._sources.get(path)
        if source is not None:
            source.turned = True
            self._stir(path, source, None)

    def _on_change(self, path: str, change: Change) -> None:
        source = self._sources.get(path)
        if source is not None:
            self._stir(path, source, change)

    def _on_arrival(self, path: str) -> None:
        """Report at once a source that was moved into place: it was complete before."""
        source, now = self._sources.get(path), asyncio.get_running_loop().time()
        if source is None:
            return
        source.turned = True
        if now < source.arrived_at + _ARRIVALS_S or source.is_locked:
            self._stir(path, source, None)
            return
        source.arrived_at = now
        if source.timer is not None:
            source.timer.cancel()
            source.timer = None
        self._begin_to_look(path, source, quiet_s=0.0)

    def _on_ended(self, path: str, step: str) -> None:
        """Look at a step that may be complete though it was not moved into place."""
        source = self._sources.get(path)
        if source is None or source.burst is None or source.is_locked:
            return
        if source.is_read:  # for an earlier end
            source.to_read = step
            return
        try:
            looking = apart(partial(is_complete, step))
        except RuntimeError:  # no thread: it is complete once it has been quiet
            return
        source.is_read = True
        looking.add_done_callback(partial(self._known, path, source.burst, source.burst.changes))

    def _known(self, path: str, burst: Burst, changes: int, looking: "asyncio.Future[bool]") -> None:
        """Take a step that is complete as moved into place, unless something happened to it meanwhile."""
        source = self._sources.get(path)
        if source is None:
            return
        source.is_read = False
        if source.to_read:
            step, source.to_read = source.to_read, ""
            self._on_ended(path, step)
            return
        if source.burst is not burst or burst.changes != changes:
            return
        if not looking.cancelled() and looking.exception() is None and looking.result():
            self._on_arrival(path)

    def _stir(self, path: str, source: _Source, change: Change | None) -> None:
        """Have a source reported once nothing has happened to it for a moment."""
        now = asyncio.get_running_loop().time()
        if source.burst is None:
            source.burst = Burst(now)
        source.burst.note(change, now)
        if source.is_locked:  # that is looked at all the time
            return
        quiet_s = self._debounce.saved_s if source.burst.is_one_file else self._debounce.quiet_s
        self._look_at_last(path, source, min(now + quiet_s, source.burst.began_at + self._debounce.longest_s))

    def _look_at_last(self, path: str, source: _Source, at: float) -> None:
        if source.timer is not None:
            source.timer.cancel()
        source.timer = asyncio.get_running_loop().call_at(at, self._settled, path)

    def _settled(self, path: str) -> None:
        source = self._sources.get(path)
        if source is None:
            return
        source.timer = None
        saved = source.burst is not None and source.burst.is_one_file
        self._begin_to_look(path, source, self._debounce.saved_s / 2 if saved else None)

    def _looked(self, path: str, burst: Burst, quiet_s: float | None, looking: "asyncio.Future[bool]") -> None:
        """Report a source, whatever the look at its path has come to, unless git is writing there."""
        source = self._sources.get(path)
        if looking.cancelled() or source is None:
            return
        locked = looking.exception() is None and looking.result()  # no descriptor: the app's own task tells
        was_locked, source.is_locked = source.is_locked, False
        if not locked:
            self._report(path, 0.0 if was_locked else quiet_s)
            return
        now = asyncio.get_running_loop().time()
        burst.last_at = burst.last_at if source.burst is None else source.burst.last_at
        if now > burst.last_at + self._debounce.longest_s or now > burst.began_at + _LONGEST_LOCK_S:
            self._report(path)
            return
        source.burst, source.is_locked = burst, True
        self._look_at_last(path, source, now + _LOCK_S)

    def _report(self, path: str, quiet_s: float | None = None) -> None:
        source = self._sources.get(path)
        for name in sorted(source.names) if source is not None else ():
            self._tracker.suspect(name) if quiet_s is None else self._tracker.suspect(name, quiet_s)


def _is_locked(followed: FollowedPath, began_ago_s: float, *, renews: bool) -> bool:
    """Watch what a path leads to now if it may be elsewhere; return whether git is writing there. Blocks."""
    if renews:
        followed.renew()
    place = followed.leads_to
    return place is not None and is_being_checked_out(place, began_ago_s)


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
