"""Notice the files that apps write into their builds before a deploy replaces those, and tell.

A change of a build's own directory is noticed soon, as a database beside the code makes one with each transaction, and
one from before the daemon started within ten minutes;
everything below it is looked at once an hour, each build in its turn, and before another build is staged.
"""

import asyncio
import math
import os
import time
from collections.abc import Callable, Collection

from reconciler.convergence.ticks import next_tick
from reconciler.convergence.wake_queue import WakeQueue
from reconciler.convergence.world import Report
from reconciler.host.builds import AppBuilds
from reconciler.linux.dataclass import dataclass
from reconciler.linux.next_changes import NextChanges
from reconciler.planning.reason import Reason
from reconciler.planning.subject import Subject
from reconciler.planning.wording import listed, written_into_build
from reconciler.serving.instances import Instances
from reconciler.staging.written_files import served_ns
from reconciler.state.journal import EventKind
from reconciler.state.paths import StatePaths

_LOOK_EVERY_S = 30.0
_LOOK_DEEP_EVERY_S = 3600.0
_TURNS_EVERY_S = 300.0 - _LOOK_EVERY_S / 2  # ticks come a moment late
# A daemon that has just started has better to do than to look at every build, and to watch it.
_SEEN_WITHIN_S = 600.0
_SEEN_AT_ONCE = 5
_ASKED_AT_ONCE = 20


@dataclass(slots=True)
class _Top:
    """The directory of a build's code, and when it had last changed when it was seen, in nanoseconds."""

    path: str
    seen_ns: int


class FilesInBuilds:
    """What apps write into the builds that serve. `record` writes an event."""

    def __init__(
        self,
        paths: StatePaths,
        builds: AppBuilds,
        instances: Instances,
        wakeups: WakeQueue,
        record: Callable[[str, EventKind, str, str, str], None],
    ) -> None:
        self._paths = paths
        self._builds = builds
        self._instances = instances
        self._wakeups = wakeups
        self._record = record
        self._seen: dict[tuple[str, str], _Top] = {}
        self._looked_at: dict[tuple[str, str], float] = {}
        self._told: dict[tuple[str, str], float] = {}
        self._changes: NextChanges[tuple[str, str]] | None = None
        self._still: set[tuple[str, str]] = set()  # of whose tops the next change is told
        self._may_ask = 0
        self._may_see = 0
        self._is_settled = False  # whether the next change of every build that serves is told
        self._last_at = time.monotonic()

    async def run(self) -> None:
        """Look for as long as the daemon runs."""
        self._changes = self._changes or NextChanges(asyncio.get_running_loop().call_soon_threadsafe, content=False)
        while True:
            await next_tick(_LOOK_EVERY_S)
            if self._may_be_due(now := time.monotonic()):
                await self._look(self._due(now))

    def on_report(self, subject: Subject, _: Report | None) -> None:
        """Look at every build soon: another one may serve."""
        self._is_settled = self._is_settled and subject.kind != "app"

    def _may_be_due(self, now: float) -> bool:
        """Return False while the next change of every build is told, none has happened, and it is no build's turn."""
        has_news = self._changes is None or self._changes.happened.is_set()
        return has_news or not self._is_settled or now >= self._last_at + _TURNS_EVERY_S

    async def before_replacing(self, name: str) -> None:
        """Look at what serves before it is replaced, and tell once more, unless just now, what is to stay in it."""
        known, recently = self._builds.written(name), time.monotonic() - _LOOK_EVERY_S
        for build in (serving := self._serving(name)):
            if (places := known.get(build)) and self._told.get((name, build), float("-inf")) < recently:
                self._tell(name, written_into_build(places), "another build is staged")
        await self._look([(name, build) for build in serving])

    def kept(self, name: str, build: str, files: tuple[str, ...]) -> None:
        """Tell where the files are that an app had written into a build that was removed."""
        if files:
            place = self._paths.written(name, build)
            self._tell(name, f"kept {listed(files)} of build {build} in {place}", "the build was removed")

    async def _look(self, builds: Collection[tuple[str, str]]) -> None:
        """Look for files that were written into these builds of apps, and tell of the first ones."""
        if not builds:
            return
        self._looked_at.update(dict.fromkeys(builds, time.monotonic()))
        for name, build in await self._builds.look_for_written(builds):
            written = self._builds.written(name)[build]
            self._tell(name, written_into_build(written), f"build {build} serves")
            self._told[name, build] = time.monotonic()
            self._wakeups.wake(name)

    def _tell(self, name: str, text: str, cause: str) -> None:
        self._record(name, "data", text, cause, Reason.FILES_IN_BUILD)

    def _serving(self, name: str) -> list[str]:
        return sorted({live.record.build for live in self._instances.lives(name) if live.record.ready_at})

    def _due(self, now: float) -> list[tuple[str, str]]:
        """Return the builds to look at: those whose top has changed, and the ones not looked at for longest."""
        serving = [(name, build) for name in self._instances.apps() for build in self._serving(name)]
        self._still -= self._changed(serving)
        self._may_ask = _ASKED_AT_ONCE
        self._may_see = max(_SEEN_AT_ONCE, math.ceil(len(serving) * _LOOK_EVERY_S / _SEEN_WITHIN_S))
        changed = [each for each in serving if self._top_has_changed(*each)]
        never = float("-inf")
        long_ago = [each for each in serving if now - self._looked_at.get(each, never) > _LOOK_DEEP_EVERY_S]
        long_ago.sort(key=lambda each: self._looked_at.get(each, never))
        self._seen = {each: self._seen[each] for each in serving if each in self._seen}
        self._looked_at = {each: self._looked_at[each] for each in serving if each in self._looked_at}
        at_once = math.ceil(len(serving) * max(_LOOK_EVERY_S, now - self._last_at) / _LOOK_DEEP_EVERY_S)
        self._last_at = now
        self._is_settled = len(self._still) == len(serving)
        return list(dict.fromkeys((*changed, *long_ago[:at_once])))

    def _changed(self, serving: Collection[tuple[str, str]]) -> frozenset[tuple[str, str]]:
        """Return the builds whose tops may have changed, or that serve no more."""
        if self._changes is None:
            return frozenset()
        gone = frozenset(self._still.difference(serving))
        self._changes.forget(gone)
        return gone | self._changes.take()

    def _top_has_changed(self, name: str, build: str) -> bool:
        """Tell whether the top of a build's code has changed since the last look, or since it first served."""
        if (name, build) in self._still:
            return False
        top = self._seen.get((name, build))
        if top is None:
            if self._may_see <= 0:
                return False
            self._may_see -= 1
            directory = self._paths.builds(name) / build
            top = self._seen[name, build] = _Top(str(directory / "code"), served_ns(directory) or 0)
        if self._changes is not None and self._may_ask > 0:
            self._may_ask -= 1
            if self._changes.ask((name, build), top.path):
                self._still.add((name, build))
        try:
            changed_ns = os.stat(top.path).st_ctime_ns  # noqa: PTH116  also of very many texts
        except OSError:
            return False
        if changed_ns <= top.seen_ns:
            return False
        top.seen_ns = changed_ns
        return build not in self._builds.written(name)
