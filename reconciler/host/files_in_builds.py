"""Notice the files that apps write into their builds before a deploy replaces those, and tell.

A change of a build's own directory is noticed soon, as a database beside the code makes one with each transaction;
everything below it is looked at now and then, and before another build is staged.
"""

import time
from collections.abc import Callable, Iterable

from reconciler.convergence.ticks import next_tick
from reconciler.convergence.wake_queue import WakeQueue
from reconciler.host.builds import AppBuilds
from reconciler.planning.reason import Reason
from reconciler.planning.wording import listed, written_into_build
from reconciler.serving.instances import Instances
from reconciler.state.journal import EventKind
from reconciler.state.paths import StatePaths

_LOOK_EVERY_S = 30.0
_LOOK_DEEP_EVERY_S = 3600.0


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
        self._seen: dict[tuple[str, str], tuple[int, float]] = {}
        self._told: dict[tuple[str, str], float] = {}

    async def run(self) -> None:
        """Look for as long as the daemon runs."""
        while True:
            await next_tick(_LOOK_EVERY_S)
            for name in self._instances.apps():
                await self._look(name, [build for build in self._serving(name) if self._may_have_changed(name, build)])

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
            if await self._builds.look_for_written(name, build):
                written = self._builds.written(name)[build]
                self._tell(name, written_into_build(written), f"build {build} serves")
                self._told[name, build] = time.monotonic()
                self._wakeups.wake(name)

    def _tell(self, name: str, text: str, cause: str) -> None:
        self._record(name, "data", text, cause, Reason.FILES_IN_BUILD)

    def _serving(self, name: str) -> list[str]:
        return sorted({instance.build for instance in self._instances.of(name) if instance.ready})

    def _may_have_changed(self, name: str, build: str) -> bool:
        """Tell whether the top of a build's code has changed, or all of it was not looked at for long."""
        try:
            changed_ns = (self._paths.builds(name) / build / "code").stat().st_mtime_ns
        except OSError:
            return False
        seen_ns, looked_at = self._seen.get((name, build), (0, float("-inf")))
        now = time.monotonic()
        long_ago = now - looked_at > _LOOK_DEEP_EVERY_S
        if not long_ago and (changed_ns == seen_ns or build in self._builds.written(name)):
            return False
        self._seen[name, build] = changed_ns, now
        return True
