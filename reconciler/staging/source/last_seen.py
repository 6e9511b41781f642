"""Track the source of each app: its last fingerprint, whether it may have changed since, and how often it did.

A failed reading never discards the last good one, which outlives the daemon.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.convergence.wake_queue import WakeQueue
from reconciler.planning.apps.observed import SourceState
from reconciler.planning.apps.revision import Source
from reconciler.planning.reason import Reason
from reconciler.planning.subject import Subject
from reconciler.staging.concurrency import look_in_thread
from reconciler.staging.errors import SourceError
from reconciler.staging.source.pace import Pace
from reconciler.staging.source.snapshot import DigestCache, fingerprint
from reconciler.state.journal import Journal
from reconciler.state.records import Records

# A tree counts as complete when no file has changed for this long; after the second time, it is taken as it is.
_QUIET_S = 0.25
_MAX_WAIT_S = 5.0
# Between two readings of a source that cannot be read and changes on: a little, and most of the time where one is long.
_PAUSE_S = 1.0
_PAUSES_PER_READING = 4.0


class SourceTracker:
    """The state of every app's source, by the app's name. Wakes an app whose source changed."""

    def __init__(self, records: Records, journal: Journal, wakeups: WakeQueue, tasks: StandingTasks) -> None:
        self._records = records
        self._journal = journal
        self._wakeups = wakeups
        self._tasks = tasks
        # By app whose source is being read: whether it has to be read once more.
        self._refreshing: dict[str, bool] = {}
        self._quiet_s: dict[str, float] = {}
        self._generations: dict[str, int] = {}
        self._digests: dict[str, DigestCache] = {}
        self._paces: dict[str, Pace] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._held_back: set[str] = set()
        self._followed: Mapping[str, Source] = {}
        self._never_read: dict[str, tuple[Source, str]] = {}
        self._states = {
            name: SourceState(source=source, content=content, stale=not source.pinned)
            for name, (source, content) in records.sources().items()
        }

    def names(self) -> frozenset[str]:
        """Return the apps whose source has been read."""
        return frozenset(self._states)

    def last(self, name: str) -> SourceState | None:
        """Return the last good state, None if there is none."""
        return self._states.get(name)

    def follow(self, sources: Mapping[str, Source]) -> None:
        """Learn the sources to watch; one that is new may have changed while another one was watched."""
        before, self._followed = self._followed, sources
        for name, source in sources.items():
            if before.get(name) != source:
                self.doubt(name)

    def mark_stale(self, name: str) -> None:
        """Have the next plan read the source again, because it is not what was last read."""
        self._generations[name] = self.generation(name) + 1
        state = self._states.get(name)
        if state is not None:
            self._states[name] = replace(state, stale=True)

    def doubt(self, name: str) -> None:
        """Have the source read again before anything else is done, whether or not a change was noticed."""
        state = self._states.get(name)
        if state is not None and not state.source.pinned:
            self._states[name] = replace(state, tried_at=float("-inf"))
            self.mark_stale(name)

    def generation(self, name: str) -> int:
        """Return how often the source may have changed."""
        return self._generations.get(name, 0)

    def is_behind(self, name: str) -> bool:
        """Return whether a source is being read, or a change of it is held back."""
        return name in self._refreshing or name in self._held_back

    def suspect(self, name: str, quiet_s: float = _QUIET_S) -> None:
        """Read a source again soon; once more when it is suspected while it is being read.

        It counts as complete when no file has changed for `quiet_s`.
        """
        self._quiet_s[name] = max(quiet_s, self._quiet_s.get(name, 0.0))
        if name in self._refreshing:
            self._refreshing[name] = True
            return
        self._refreshing[name] = False
        self._tasks.keep(f"read the source of {name}", partial(self._refresh, name))

    async def refresh(self, name: str, quiet_s: float = _QUIET_S) -> bool:
        """Read a source again that was read before; returns True if its state changed."""
        before = self._states.get(name)
        if before is None or before.source.pinned:
            return False
        self._generations[name] = self.generation(name) + 1
        await self.read(name, before.source, at_once=False, quiet_s=quiet_s)
        after = self._states.get(name)
        return after is not None and _told(after) != _told(before)

    async def read(self, name: str, source: Source, *, at_once: bool = True, quiet_s: float = _QUIET_S) -> bool:
        """Read the source once it has been quiet for so long; returns True if it differs from the last reading.

        Unless it is to count at once, a change that programs make again and again is held back for a while. Raises
        SourceError only if there is no earlier reading of the same source to continue with.
        """
        before = self._states.get(name)
        digests = self._digests.pop(name, None) or DigestCache()
        try:
            content = await _stable_fingerprint(source.path, digests, quiet_s)
        except SourceError as error:
            if before is None or before.source != source:
                self._never_read[name] = (source, str(error))
                raise
            self._states[name] = replace(before, stale=True, problem=str(error), tried_at=time.monotonic())
            if before.problem != str(error):
                text = f"its source changed and cannot be read: {error}"
                self._write(name, text, Reason.SOURCE_UNREADABLE)
            return False
        finally:
            self._digests[name] = digests
        differs = before is None or before.source != source or before.content != content
        busy, written = None, digests.take_written()
        if before is not None and before.source == source:
            pace, busy = self._paced(name, written, differs=differs)
            if differs and not at_once and before.problem is None and time.monotonic() < pace.due_at:
                self._suspect_at(name, pace.due_at)
                self._held_back.add(name)
                self._states[name] = replace(before, stale=False, busy=busy)
                return False
            if differs:
                self._paces[name] = pace.taken(time.monotonic())
        self._held_back.discard(name)
        self._never_read.pop(name, None)
        if differs:
            self._records.set_source(name, source, content)
        self._states[name] = SourceState(source=source, content=content, busy=busy)
        return differs

    def forget(self, name: str) -> None:
        """Forget the app."""
        self._held_back.discard(name)
        for by_name in (self._states, self._generations, self._digests, self._paces, self._quiet_s):
            by_name.pop(name, None)

    def _paced(self, name: str, written: frozenset[str] | None, *, differs: bool) -> tuple[Pace, str | None]:
        """Return how fast programs write in a source, and what is to be told of it."""
        now, before = time.monotonic(), self._paces.get(name, Pace())
        if written == frozenset() and differs:
            written = before.files  # what was held back is due now
        pace = before
        if differs:
            pace = before.seen(written or (), now)
        elif now >= before.rests_at:
            pace = Pace()
        self._paces[name] = pace
        if not pace.files or not pace.is_slowed:
            return pace, None
        self._suspect_at(name, pace.rests_at)
        return pace, pace.note

    def _suspect_at(self, name: str, at: float) -> None:
        loop = asyncio.get_running_loop()
        timer = self._timers.get(name)
        if timer is not None and timer.when() > loop.time():
            if timer.when() <= at:
                return
            timer.cancel()
        self._timers[name] = loop.call_at(at + 0.01, self._due, name)

    def _due(self, name: str) -> None:
        with contextlib.suppress(RuntimeError):  # the daemon is ending
            self.suspect(name)

    def _write(self, name: str, text: str, reason: Reason) -> None:
        self._journal.write(Subject("app", name), "source", text, reason=reason)

    async def _refresh(self, name: str) -> None:
        again = True
        while again:
            self._refreshing[name] = False
            quiet_s = self._quiet_s.pop(name, _QUIET_S)
            before = self._states.get(name)
            if name in self._never_read:  # the app's own task waits to try again: a change that mends it ends that
                if await self._fails_as_before(name):
                    again = self._refreshing[name]
                    continue
                self._never_read.pop(name, None)
                self.mark_stale(name)
                self._wakeups.wake(name)
            try:
                changed = await self.refresh(name, quiet_s)
            except Exception:  # noqa: BLE001  no descriptor, an internal error: the app's own task reports it, and retries
                self.mark_stale(name)
                self._wakeups.wake(name)
                changed = False
            if changed:
                self._tell(name, before)
                self._wakeups.wake(name)
            again = self._refreshing[name]
        del self._refreshing[name]

    async def _fails_as_before(self, name: str) -> bool:
        """Return whether a source that was never read still cannot be, then after a pause, as it may change on."""
        source, problem = self._never_read[name]
        began = time.monotonic()
        try:
            await look_in_thread(lambda: fingerprint(source.path, DigestCache()))
        except SourceError as error:
            if str(error) == problem:
                await asyncio.sleep(_PAUSE_S + _PAUSES_PER_READING * (time.monotonic() - began))
                return True
        return False

    def _tell(self, name: str, before: SourceState | None) -> None:
        """Journal what is new about a source; what cannot be read was told when that was found out."""
        after = self._states.get(name)
        if before is None or after is None:
            return
        if after.content != before.content:
            self._write(name, "its source changed", Reason.SOURCE_CHANGED)
        elif before.problem is not None and after.problem is None:
            self._write(name, "its source can be read again", Reason.SOURCE_CHANGED)
        if after.busy is not None and before.busy is None:
            self._write(name, after.busy, Reason.SOURCE_BUSY)


def _told(state: SourceState) -> tuple[str, str | None, str | None]:
    return state.content, state.problem, state.busy


async def _stable_fingerprint(path: str, digests: DigestCache, needed_s: float) -> str:
    """Return the source's fingerprint, computed again while the source is still being written."""
    deadline = time.monotonic() + _MAX_WAIT_S
    while True:
        content = await look_in_thread(lambda: fingerprint(path, digests))
        quiet_s = digests.quiet_s()
        if quiet_s >= needed_s or time.monotonic() > deadline:
            return content
        await asyncio.sleep(needed_s - quiet_s)
