"""The last look at each app's source: what was found, whether it may have changed since, and how often it did.

A look that fails never forgets the last good one, and the last good one outlives the daemon.
"""

import asyncio
import time
from dataclasses import replace

from reconciler.convergence.wake_queue import WakeQueue
from reconciler.planning.apps.observed import SourceState
from reconciler.planning.desired import Source
from reconciler.planning.subject import Subject
from reconciler.staging.errors import SourceError
from reconciler.staging.source.snapshot import Digests, fingerprint
from reconciler.state.journal import Journal
from reconciler.state.records import Records

# How long no file may have changed before a tree counts as whole, and the longest that is waited for.
_QUIET_S = 0.25
_LONGEST_S = 5.0


class SourceTracker:
    """What is known of every app's source, by the app's name. Wakes an app whose source changed."""

    def __init__(self, records: Records, journal: Journal, wakeups: WakeQueue, tasks: asyncio.TaskGroup) -> None:
        self._records = records
        self._journal = journal
        self._wakeups = wakeups
        self._tasks = tasks
        self._changes: dict[str, int] = {}
        self._digests: dict[str, Digests] = {}
        # By app that is being looked at: whether it has to be looked at once more.
        self._refreshing: dict[str, bool] = {}
        self._tracker = {
            name: SourceState(source=source, content=content, stale=not source.pinned)
            for name, (source, content) in records.sources().items()
        }

    def names(self) -> frozenset[str]:
        """Return the apps whose source was ever read."""
        return frozenset(self._tracker)

    def last(self, name: str) -> SourceState | None:
        """Return the last good look, None when there was none."""
        return self._tracker.get(name)

    def doubt(self, name: str) -> None:
        """Note that what was read is not what is there: the next plan reads it again."""
        self._changes[name] = self.changes(name) + 1
        look = self._tracker.get(name)
        if look is not None:
            self._tracker[name] = replace(look, stale=True)

    def changes(self, name: str) -> int:
        """Return how often the source was thought to have changed."""
        return self._changes.get(name, 0)

    def suspect(self, name: str) -> None:
        """Look at a source again soon; once more when it is suspected while it is being looked at."""
        if name in self._refreshing:
            self._refreshing[name] = True
            return
        self._refreshing[name] = False
        self._tasks.create_task(self._refresh(name), name=f"look at the source of {name}")

    async def refresh(self, name: str) -> bool:
        """Look again at a source that was read before; return whether what is known of it changed."""
        before = self._tracker.get(name)
        if before is None or before.source.pinned:
            return False
        self._changes[name] = self.changes(name) + 1
        await self.read(name, before.source)
        after = self._tracker.get(name)
        return after is not None and (after.content, after.problem) != (before.content, before.problem)

    async def read(self, name: str, source: Source) -> bool:
        """Look at the source; return whether it differs from the last look.

        Raises SourceError only when there is no earlier look at this very source to go on with.
        """
        before = self._tracker.get(name)
        digests = self._digests.pop(name, None) or Digests()
        try:
            content = await _settled(source.path, digests)
        except SourceError as error:
            if before is None or before.source != source:
                raise
            self._tracker[name] = replace(before, stale=True, problem=str(error), tried_at=time.monotonic())
            return False
        finally:
            self._digests[name] = digests
        differs = before is None or before.source != source or before.content != content
        if differs:
            self._records.set_source(name, source, content)
        self._tracker[name] = SourceState(source=source, content=content)
        return differs

    def forget(self, name: str) -> None:
        """Forget the source of an app that was removed."""
        for known in (self._tracker, self._changes, self._digests):
            known.pop(name, None)

    async def _refresh(self, name: str) -> None:
        again = True
        while again:
            self._refreshing[name] = False
            try:
                changed = await self.refresh(name)
            except (OSError, RuntimeError):  # no descriptor, no thread: the app's own task tries again, and says so
                self.doubt(name)
                self._wakeups.wake(name)
                changed = False
            if changed:
                self._journal.write(Subject("app", name), "source", "its source changed")
                self._wakeups.wake(name)
            again = self._refreshing[name]
        del self._refreshing[name]


async def _settled(path: str, digests: Digests) -> str:
    """Return the source's fingerprint, taken again while the source is still being written."""
    deadline = time.monotonic() + _LONGEST_S
    while True:
        content = await asyncio.to_thread(fingerprint, path, digests)
        young_s = digests.youngest_s()
        if young_s >= _QUIET_S or time.monotonic() > deadline:
            return content
        await asyncio.sleep(_QUIET_S - young_s)
