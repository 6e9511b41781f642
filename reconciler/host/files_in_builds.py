"""Notice the files that apps write into their builds before a deploy replaces those, and tell.

A change of a build's own directory is noticed soon, as a database beside the code makes one with each transaction;
everything below it is looked at now and then, in a few builds at a time, and before another build is staged.
"""

import time
from collections.abc import Callable, Iterable

from reconciler.convergence.ticks import next_tick
from reconciler.convergence.wake_queue import WakeQueue
from reconciler.host.builds import AppBuilds
from reconciler.planning.reason import Reason
from reconciler.planning.wording import listed, written_into_build
from reconciler.serving.instances import Instances
from reconciler.staging.written_files import served_ns
from reconciler.state.journal import EventKind
from reconciler.state.paths import StatePaths

_LOOK_EVERY_S = 30.0
_LOOK_DEEP_EVERY_S = 3600.0
_DEEP_AT_ONCE = 2


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
        self._seen: dict[tuple[str, str], int] = {}
        self._looked_at: dict[tuple[str, str], float] = {}
        self._told: dict[tuple[str, str], float] = {}

    async def run(self) -> None:
        """Look for as long as the daemon runs."""
        while True:
            await next_tick(_LOOK_EVERY_S)
            for name, build in self._due(time.monotonic()):
                await self._look(name, [build])

    async def before_replacing(self, name: str) -> None:
        """Look at what serves before it is replaced, and tell once more, unless just now, what is to stay in it."""
        known, recently = self._builds.written(name), time.monotonic() - _LOOK_EVERY_S
        for build in (serving := self._serving(name)):
            if (places := known.get(build)) and self._told.get((name, build), float("-inf")) < recently:
                self._tell(name, written_into_build(places), "another build is staged")
        await self._look(name, serving)

    def kept(self, name: str, build: str, files: tuple[str, ...]) -> None:
        """Tell where the files are that an app had written into a build that was removed."""
        if files:
            place = self._paths.written(name, build)
            self._tell(name, f"kept {listed(files)} of build {build} in {place}", "the build was removed")

    async def _look(self, name: str, builds: Iterable[str]) -> None:
        """Look for files that were written into these builds, and tell of the first ones."""
        for build in builds:
            self._looked_at[name, build] = time.monotonic()
            if await self._builds.look_for_written(name, build):
                written = self._builds.written(name)[build]
                self._tell(name, written_into_build(written), f"build {build} serves")
                self._told[name, build] = time.monotonic()
                self._wakeups.wake(name)

    def _tell(self, name: str, text: str, cause: str) -> None:
        self._record(name, "data", text, cause, Reason.FILES_IN_BUILD)

    def _serving(self, name: str) -> list[str]:
        return sorted({instance.build for instance in self._instances.of(name) if instance.ready})

    def _due(self, now: float) -> list[tuple[str, str]]:
        """Return the builds to look at: those whose top has changed, and the ones not looked at for longest."""
        serving = [(name, build) for name in self._instances.apps() for build in self._serving(name)]
        changed = [each for each in serving if self._top_has_changed(*each)]
        never = float("-inf")
        long_ago = [each for each in serving if now - self._looked_at.get(each, never) > _LOOK_DEEP_EVERY_S]
        long_ago.sort(key=lambda each: self._looked_at.get(each, never))
        self._seen = {each: self._seen[each] for each in serving if each in self._seen}
        self._looked_at = {each: self._looked_at[each] for each in serving if each in self._looked_at}
        return list(dict.fromkeys((*changed, *long_ago[:_DEEP_AT_ONCE])))

    def _top_has_changed(self, name: str, build: str) -> bool:
        """Tell whether the top of a build's code has changed since the last look, or since it first served."""
        directory = self._paths.builds(name) / build
        try:
            changed_ns = (directory / "code").stat().st_ctime_ns
        except OSError:
            return False
        seen_ns = self._seen.get((name, build))
        if seen_ns is None:
            seen_ns = served_ns(directory) or 0
        self._seen[name, build] = max(changed_ns, seen_ns)
        return changed_ns > seen_ns and build not in self._builds.written(name)
