"""Plan one process of an app: the actions, in order, that lead from what is observed to what is desired.

Its laws: an old instance that was ready is told to stop only once all new ones are, except of a `single` process, of
which the old one is gone before the new one starts; each step of a stop sequence is taken once, in order and by time,
whichever daemon took the one before; one that drains holds up nothing but the fourth set of them; and no number of
crashes ends the restarts.
"""

from collections.abc import Iterator
from dataclasses import replace

from reconciler.planning.apps.failures import crash_delay_s
from reconciler.planning.plan import Plan
from reconciler.planning.processes.actions import (
    Action,
    EndHolders,
    ForgetProcess,
    MarkReady,
    StartProcess,
    StopProcess,
)
from reconciler.planning.processes.limits import other_limits, outgrown, told
from reconciler.planning.processes.observed import Crash, ObservedProcess, ProcessInstance
from reconciler.planning.processes.plan_stops import (
    changed_stops,
    continued,
    next_crash,
    next_step_at,
    reap,
    running,
    stops,
    stops_hung,
)
from reconciler.planning.processes.process import After, Answers, AppProcess, Notifies, Process, Ready, Target
from reconciler.planning.reason import Cause, Reason
from reconciler.planning.states import AppState
from reconciler.planning.wording import counted, quoted

NEVER = float("inf")
_LOCK_LOOK_S = 0.5
# So many sets of earlier instances may finish their work at a time; the next deploy waits for the oldest.
MOST_DRAINING = 3
_REMOVED = Cause(Reason.MANIFEST_REMOVED, "its manifest does not name it any more")
_APP_STOPS = Cause(Reason.MANIFEST_STOPS, "the manifest of its app says state: stopped")
_REPLACED = Cause(Reason.HANDING_OVER, "replaced by a new instance")
_MAKES_WAY = Cause(Reason.HANDING_OVER, "there must not be two of it: its successor waits")
_SURPLUS = Cause(Reason.SCALING, "fewer are desired")


def plan(asked: AppProcess | None, observed: ObservedProcess, now: float) -> Plan[Action]:
    """Plan one process; `asked` is None when nothing asks for it any more, `now` is monotonic seconds."""
    if asked is None:
        return _gone(observed, now)
    held = observed.held or (_APP_STOPS if asked.stops else None)
    if held is not None:
        return _held(asked, observed, held, now)
    if observed.target is None:
        return _without_target(asked, observed, now)
    return _Running(asked, observed, observed.target, now).plan()


def stop_everything(observed: ObservedProcess, cause: Cause, now: float) -> Plan[Action]:
    """Plan to stop whatever runs, each instance in its own way."""
    actions = [*reap(None, observed, now), *continued(observed, now), *stops(running(observed), cause)]
    return Plan(
        actions=tuple(actions),
        state="stopping" if observed.instances else "stopped",
        reason=cause.reason,
        message=cause.text,
        recheck_at=next_step_at(observed, now),
        settled=not actions and not observed.instances,
        reportable=bool(observed.instances),
    )


def _gone(observed: ObservedProcess, now: float) -> Plan[Action]:
    planned = stop_everything(observed, _REMOVED, now)
    if observed.instances or not observed.has_residue:
        return planned
    return replace(planned, actions=(ForgetProcess(cause=_REMOVED.text, reason=_REMOVED.reason),), settled=False)


def _held(asked: AppProcess, observed: ObservedProcess, held: Cause, now: float) -> Plan[Action]:
    planned = stop_everything(observed, held, now)
    changed = tuple(changed_stops(asked, observed))
    return replace(planned, actions=(*changed, *planned.actions), settled=planned.settled and not changed)


def _without_target(asked: AppProcess, observed: ObservedProcess, now: float) -> Plan[Action]:
    """Keep what runs until it is known what should."""
    actions = [*reap(asked, observed, now), *continued(observed, now)]
    waits = Cause(Reason.WAITING_FOR_APPS, "waiting until its app has served for the first time")
    cause = Cause(Reason.MISCONFIGURED, observed.trouble) if observed.trouble else waits
    if observed.lacking:
        cause = Cause(Reason.WAITING_FOR_INPUTS, f"waiting: {'; '.join(observed.lacking)}")
    state: AppState = "pending"
    if cause is not waits:
        state = "degraded" if observed.alive else "failing"
    return Plan(
        actions=tuple(actions),
        state=state,
        reason=cause.reason,
        message=cause.text,
        recheck_at=next_step_at(observed, now),
    )


def count_now(process: Process, observed: ObservedProcess) -> int:
    """Return how many of a process are to run: as its manifest says, as what waits for it needs, or as run now."""
    if process.scale is None:
        return process.count
    present = max((instance.slot for instance in running(observed)), default=process.scale.least)
    return process.scale.within(present if observed.scaling.count is None else observed.scaling.count)


class _Running:
    """A process that is to run, and what of it does."""

    def __init__(self, asked: AppProcess, observed: ObservedProcess, target: Target, now: float) -> None:
        self.asked, self.observed, self.target, self.now = asked, observed, target, now
        self.process = asked.process
        self.single = self.process.is_single(target.command)
        self.count = 1 if self.single else count_now(self.process, observed)
        self.version = target.version(self.process)
        self.current = {slot: found for slot in self._slots() if (found := self._best(slot)) is not None}
        kept = {instance.id for instance in self.current.values()}
        self.others = tuple(i for i in running(observed) if i.id not in kept)
        self.missing = tuple(slot for slot in self._slots() if slot not in self.current)
        self.unready = tuple(i for i in self.current.values() if i.ready_at is None)

    def plan(self) -> Plan[Action]:
        """Plan by what is missing, what is not ready, and what is left over."""
        actions: list[Action] = [*reap(self.asked, self.observed, self.now), *continued(self.observed, self.now)]
        actions += changed_stops(self.asked, self.observed)
        actions += other_limits(self.process, self.observed)
        actions += self._judged()
        actions += self._replaced()
        if self.single and self.observed.outlived and not self.observed.instances:
            actions.append(EndHolders(cause="it outlived the instance before", reason=Reason.HANDING_OVER))
        waits = self._waits()
        if waits is None:
            actions += self._starts()
        cause, state = self._said(waits)
        return Plan(
            actions=tuple(actions),
            state=state,
            reason=cause.reason,
            message=cause.text,
            wanted=self.target.revision,
            recheck_at=self._recheck_at(),
            retry_at=min((at for slot in self.missing if self.now < (at := self._try_at(slot)) < NEVER), default=None),
            settled=not actions and state == "running",
            failures=max((crash.count for crash in self._crashes()), default=0),
        )

    def _slots(self) -> range:
        return range(1, self.count + 1)

    def _best(self, slot: int) -> ProcessInstance | None:
        """Return the instance that is to stay in a slot: one that is ready first, then the oldest."""
        fitting = [
            i
            for i in running(self.observed)
            if i.slot == slot
            and i.version == self.version
            and i.hung is None
            and not i.outgrown
            and i.started_at >= self.observed.restart_before
        ]
        return min(fitting, key=lambda i: (i.ready_at is None, i.started_at), default=None)

    def _judged(self) -> Iterator[Action]:
        """Tell what is ready, and stop what is of no use: hung, or not ready in time."""
        for instance in self.others:
            if instance.hung is not None:
                crash = None if instance.version != self.version else self._crash(instance, instance.hung)
                yield from stops_hung(instance, crash)
        for instance in self.unready:
            if self._is_ready(instance):
                yield MarkReady(instance=instance.id, cause=_why_ready(self.process.ready), reason=Reason.GATE_PASSED)
            elif self.now >= self._late_at(instance):
                text = f"it was not ready within {self.process.start_timeout_s:g} s"
                crash = self._crash(instance, f"{text}{quoted(instance.said)}")
                yield StopProcess(instance=instance.id, crash=crash, cause=text, reason=Reason.NOT_SERVING)

    def _is_ready(self, instance: ProcessInstance) -> bool:
        ready = self.process.ready
        return self.now >= instance.started_at + ready.seconds if isinstance(ready, After) else instance.says_ready

    def _late_at(self, instance: ProcessInstance) -> float:
        return NEVER if isinstance(self.process.ready, After) else instance.started_at + self.process.start_timeout_s

    def _replaced(self) -> Iterator[Action]:
        """Stop what is left over: of a single process at once, of others when all that is to stay is ready.

        One that never was ready is not waited for: what it was to replace serves on.
        """
        whole = not self.missing and not self.unready
        for instance in self.others:
            if instance.hung is not None:
                continue
            if self.single:
                yield from stops([instance], self._why_replaced(instance, _MAKES_WAY))
            elif instance.version == self.version and instance.slot > self.count:
                scaled = self.observed.scaling.cause
                yield from stops([instance], Cause(Reason.SCALING, scaled) if scaled else _SURPLUS)
            elif whole or instance.ready_at is None or (instance.version == self.version and self._is_double(instance)):
                yield from stops([instance], self._why_replaced(instance, _REPLACED))

    def _is_double(self, instance: ProcessInstance) -> bool:
        """Whether another instance of the same version is to stay in its slot, and is ready."""
        kept = self.current.get(instance.slot)
        return kept is not None and kept.ready_at is not None

    def _why_replaced(self, instance: ProcessInstance, otherwise: Cause) -> Cause:
        if instance.version == self.version and instance.started_at < self.observed.restart_before:
            return Cause(Reason.RESTART_REQUESTED, "an operator requested a restart")
        return outgrown([instance], instance.slot) or otherwise

    def _waits(self) -> Cause | None:
        """Return what a start has to wait for, None when it may begin as far as others are concerned."""
        if not self.missing:
            return None
        if self.single and self.observed.alive:
            oldest = min(self.observed.alive, key=lambda i: NEVER if i.stopping_since is None else i.stopping_since)
            return Cause(Reason.HANDING_OVER, f"waiting for the one before it to end (pid {oldest.pid})")
        if self.single and self.observed.is_locked:
            return Cause(Reason.HANDING_OVER, "waiting for all of the one before it to end: its lock is held")
        crowded = [slot for slot in self.missing if self._sets_in(slot) > MOST_DRAINING]
        if crowded:
            of_these = [i for i in self.observed.alive if i.slot in crowded]
            oldest = min(of_these, key=lambda i: NEVER if i.stopping_since is None else i.stopping_since)
            text = f"waiting for the oldest of {MOST_DRAINING} sets that finish their work (pid {oldest.pid})"
            return Cause(Reason.HANDING_OVER, text)
        return None

    def _sets_in(self, slot: int) -> int:
        return sum(1 for i in self.observed.alive if i.slot == slot)

    def _starts(self) -> Iterator[Action]:
        for slot in self.missing:
            if self._try_at(slot) <= self.now:
                cause = self._why_start(slot)
                before = self._crash_of(slot)
                count = 1 if before is None else before.count + 1
                crash = Crash(count=count, last_at=self.now, reason="", version=self.version, blames=True)
                yield StartProcess(
                    slot=slot, version=self.version, target=self.target, crash=crash, cause=cause.text,
                    reason=cause.reason,
                )  # fmt: skip

    def _why_start(self, slot: int) -> Cause:
        crash = self._crash_of(slot)
        if crash is not None:
            return Cause(Reason.CRASHED, crash.reason)
        if any(i.version == self.version and i.started_at < self.observed.restart_before for i in self.others):
            return Cause(Reason.RESTART_REQUESTED, "an operator requested a restart")
        if self.observed.scaling.cause and not self.others:
            return Cause(Reason.SCALING, self.observed.scaling.cause)
        changed = Cause(Reason.CONFIGURATION_CHANGED, "its code or its configuration changed")
        return outgrown(self.others, slot) or (
            changed if self.others else Cause(Reason.NOT_RUNNING, "it was not running")
        )

    # Crashes

    def _crash_of(self, slot: int) -> Crash | None:
        """Return the last crash of a slot, None after an edit or a request since: then it is tried at once."""
        crash = self.observed.crashes.get(slot)
        if crash is None or crash.version != self.version or self.observed.restart_before > crash.last_at:
            return None
        return crash

    def _crashes(self) -> Iterator[Crash]:
        """Return the crashes of slots that had no good run since."""
        for slot in self._slots():
            crash, current = self._crash_of(slot), self.current.get(slot)
            if crash is not None and not (current is not None and self._forgiven_at(current) <= self.now):
                yield crash

    def _forgiven_at(self, instance: ProcessInstance) -> float:
        return NEVER if instance.ready_at is None else instance.ready_at + self.asked.crash.good_run_s

    def _try_at(self, slot: int) -> float:
        crash = self._crash_of(slot)
        if crash is None:
            return -NEVER
        return crash.last_at + crash_delay_s(self.asked.crash, crash.count, f"{self.asked.name}.{slot}")

    def _crash(self, instance: ProcessInstance, reason: str) -> Crash:
        return next_crash(self.asked, self.observed, instance, self.now, reason)

    # What is told

    def _said(self, waits: Cause | None) -> tuple[Cause, AppState]:
        ready = len(self.current) - len(self.unready)
        crashes = [crash for crash in self._crashes() if crash.count > 1]
        if crashes:
            worst = max(crashes, key=lambda crash: crash.count)
            text = f"crashed {worst.count} times in a row, most recently: {worst.reason}"
            return Cause(Reason.CRASHED, text), "degraded" if ready else "failing"
        if waits is not None:
            return waits, "starting"
        if self.missing or self.unready:
            return Cause(Reason.HANDING_OVER if self.others else Reason.NOT_RUNNING, ""), "starting"
        if self.observed.stale:
            text = f"running with the last known values: {'; '.join(self.observed.stale)}"
            return Cause(Reason.INPUTS_STALE, text), "degraded"
        drained = [i for i in self.observed.alive if i.drains]
        text = f"{counted(len(drained), 'earlier instance')} finishing" if drained else ""
        as_usual: tuple[Cause, AppState] = Cause(Reason.HANDING_OVER if drained else Reason.NONE, text), "running"
        return told(self.current.values()) or self._unknown_number() or as_usual

    def _unknown_number(self) -> tuple[Cause, AppState] | None:
        trouble = self.observed.scaling.trouble
        if not trouble:
            return None
        return Cause(Reason.SCALE_UNKNOWN, f"the number stays at {self.count}: {trouble}"), "running"

    def _recheck_at(self) -> float | None:
        return min((at for at in self._times() if self.now < at < NEVER), default=None)

    def _times(self) -> Iterator[float]:
        next_step = next_step_at(self.observed, self.now)
        if next_step is not None:
            yield next_step
        for slot in self.missing:
            yield self._try_at(slot)
        ready = self.process.ready
        for instance in self.unready:
            yield self._late_at(instance)
            if isinstance(ready, After):
                yield instance.started_at + ready.seconds
        if self.single and self.observed.is_locked:
            yield self.now + _LOCK_LOOK_S
        if any(True for _ in self._crashes()):
            yield from (self._forgiven_at(instance) for instance in self.current.values())


def _why_ready(ready: Ready) -> str:
    match ready:
        case After():
            return f"it lived for {ready.seconds:g} s"
        case Notifies():
            return "it said READY=1"
        case Answers():
            return "its 'ready' command succeeded"
