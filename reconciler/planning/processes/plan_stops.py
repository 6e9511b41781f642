"""Plan the end of instances of processes: what has ended is cleared away, and what stops is taken a step further.

Each step of a stop sequence is taken once, in order and by time, whichever daemon took the one before.
"""

from collections.abc import Iterable, Iterator

from reconciler.planning.processes.actions import (
    Action,
    ChangeStop,
    KillProcess,
    ReapProcess,
    SignalProcess,
    StopProcess,
)
from reconciler.planning.processes.observed import Crash, ObservedProcess, ProcessInstance
from reconciler.planning.processes.process import AppProcess
from reconciler.planning.processes.stop import StopSequence, one_signal
from reconciler.planning.reason import Cause, Reason
from reconciler.planning.wording import quoted

# How long one has that is hung. No manifest is likely to say the same: a later daemon knows by it that it was hung.
_HUNG_S = 9.0


def running(observed: ObservedProcess) -> list[ProcessInstance]:
    """Return the instances that are alive and not told to stop."""
    return [i for i in observed.instances if i.runs]


def reap(asked: AppProcess | None, observed: ObservedProcess, now: float) -> Iterator[Action]:
    """Clear away what has ended; that it did so on its own is a crash, whatever its exit code."""
    for i in observed.instances:
        if i.end is not None:
            crash = None
            if asked is not None and i.stopping_since is None:
                crash = next_crash(asked, observed, i, now, f"{i.end}{quoted(i.said)}")
            yield ReapProcess(instance=i.id, crash=crash, cause=i.end, reason=Reason.EXITED)


def next_crash(
    asked: AppProcess, observed: ObservedProcess, instance: ProcessInstance, now: float, reason: str
) -> Crash:
    """Count one more crash of a slot; a good run before it begins the count again."""
    before = observed.crashes.get(instance.slot)
    ran_s = 0.0 if instance.ready_at is None else now - instance.ready_at
    again = before is not None and before.version == instance.version and ran_s < asked.crash.good_run_s
    count = before.count if before is not None and again else 0
    return Crash(
        count=count + 1,
        last_at=now,
        reason=reason,
        version=instance.version,
        blames=ran_s < asked.probation_s,
    )


def continued(observed: ObservedProcess, now: float) -> Iterator[Action]:
    """Take the next step of every stop sequence for which it is time."""
    for i in observed.instances:
        if not i.drains or i.stopping_since is None or i.steps > len(i.stop.steps):
            continue
        if now < i.stopping_since + i.stop.due_after_s(i.steps):
            continue
        said = f"it did not end within {i.stop.due_after_s(i.steps):g} s of SIG{i.stop.steps[0].signal}"
        signal = i.stop.next_signal(i.steps)
        if signal is None:
            yield KillProcess(instance=i.id, cause=said, reason=Reason.HANDING_OVER)
        else:
            yield SignalProcess(instance=i.id, step=i.steps, signal=signal, cause=said, reason=Reason.HANDING_OVER)


def next_step_at(observed: ObservedProcess, now: float) -> float | None:
    """Return when the next step of a stop sequence is due."""
    times = (
        i.stopping_since + i.stop.due_after_s(i.steps)
        for i in observed.instances
        if i.drains and i.stopping_since is not None and i.steps <= len(i.stop.steps)
    )
    return min((at for at in times if at > now), default=None)


def changed_stops(asked: AppProcess, observed: ObservedProcess) -> Iterator[Action]:
    """Have an edit of the way it is stopped hold for what runs, and for what stops unless it is told other things."""
    if observed.target is None:
        return
    stop, version = asked.process.stop_of(observed.target.command), observed.target.version(asked.process)
    for i in observed.instances:
        told = [step.signal for step in i.stop.steps] == [step.signal for step in stop.steps]
        if i.silent or is_for_hung(i.stop):
            continue
        if i.end is None and i.stop != stop and (told or (i.runs and i.version == version)):
            cause = "its manifest says how it is stopped"
            yield ChangeStop(instance=i.id, stop=stop, cause=cause, reason=Reason.MANIFEST_CHANGED)


def stops(instances: Iterable[ProcessInstance], cause: Cause) -> list[Action]:
    """Tell instances to stop, each in its own way."""
    return [StopProcess(instance=i.id, cause=cause.text, reason=cause.reason) for i in instances]


def stops_hung(instance: ProcessInstance, crash: Crash | None) -> Iterator[Action]:
    """Stop one that is of no use although it is alive; one that says nothing any more is not given long to obey."""
    assert instance.hung is not None
    short = one_signal(_HUNG_S, instance.stop.steps[0].signal)
    if instance.silent and instance.stop.kill_after_s > _HUNG_S:
        yield ChangeStop(instance=instance.id, stop=short, cause=instance.hung, reason=Reason.UNHEALTHY)
    yield StopProcess(instance=instance.id, crash=crash, cause=instance.hung, reason=Reason.UNHEALTHY)


def is_for_hung(stop: StopSequence) -> bool:
    """Whether it is how one is stopped that is hung, which no edit makes longer."""
    return [step.wait_s for step in stop.steps] == [_HUNG_S]
