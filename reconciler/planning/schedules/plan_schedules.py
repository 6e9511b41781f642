"""Plan the schedules of one app: which occurrences are owed, started, skipped, missed or stopped now. Pure.

No occurrence begins an attempt twice, whatever the clock does and whichever process is killed: to consider one is
recorded, and what is recorded is not considered again. The plan says when to look again, so that nothing is computed
meanwhile; a caller also looks again when a record, the app or its manifest changes, and when the wall clock is set.
"""

from collections.abc import Iterator, Mapping, Sequence

from reconciler.linux.dataclass import dataclass
from reconciler.planning.schedules.actions import Action, Forget, Note, Remember, Skip, Stop
from reconciler.planning.schedules.due import Next, Past, due
from reconciler.planning.schedules.history import History
from reconciler.planning.schedules.notes import notes
from reconciler.planning.schedules.observed import Observed, ObservedSchedule, Record
from reconciler.planning.schedules.schedule import Schedule
from reconciler.planning.schedules.schedule_plan import SchedulePlan
from reconciler.planning.schedules.starts import admitted, after_actions, buried, starts

_UNKNOWN = ObservedSchedule()
_LEAST_WAIT_S = 0.001  # a wall clock as a float has hardly finer steps, and a plan may come just before its time


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What is planned for one schedule; `times` are the instants at which time alone could change it."""

    actions: tuple[Action, ...]
    records: tuple[Record, ...]
    next: Next | None = None
    times: tuple[float, ...] = ()


def plan(
    asked: Sequence[Schedule], observed: Observed, kept: Mapping[str, Next], *, now: float, monotonic: float
) -> SchedulePlan:
    """Plan the schedules of one app at an instant; `kept` is what the last plan returned as `next`, or empty."""
    actions, told, times = list[Action](), list[Note](), list[float]()
    upcoming, suspended = dict[str, Next](), dict[str, str]()
    for schedule in asked:
        found = observed.schedules.get(schedule.name, _UNKNOWN)
        if why := _suspends(schedule, observed, found.history):
            suspended[schedule.name] = why
            part = _suspended(schedule, observed, why, now)
        else:
            part = _counting(schedule, found, kept.get(schedule.name), now, monotonic)
        if part.next is not None:
            upcoming[schedule.name] = part.next
        actions += part.actions
        times += part.times
        for since, note in notes(part.records, schedule.offset_s, now, monotonic) if part.records else ():
            if since <= now:
                told.append(note)
            else:
                times.append(since)
    names = {schedule.name for schedule in asked}
    for name, found in observed.schedules.items():
        if name not in names:
            actions += _removed(name, found, now)
    return SchedulePlan(
        actions=tuple(actions),
        notes=tuple(told),
        next=upcoming,
        suspended=suspended,
        look_again_at=monotonic + max(_LEAST_WAIT_S, min(times) - now) if times else None,
    )


def _counting(schedule: Schedule, found: ObservedSchedule, kept: Next | None, now: float, monotonic: float) -> _Part:
    """Plan a schedule whose times count."""
    actions, records = buried(found.records, now)
    offset_s = schedule.offset_s
    past = Past(history=found.history, records=records, kept=kept, elapsed_s=_elapsed_s(records, now, monotonic))
    due_now = due(schedule, past, int((now - offset_s) // 1))
    actions += tuple(_obsolete(schedule, records))
    if due_now.on_time is not None:
        actions += tuple(admitted(schedule, due_now.on_time, after_actions(records, actions, now)))
    actions += due_now.actions
    records = after_actions(records, actions, now)
    begun = starts(schedule, records, now)
    times = [at for at in (begun.retry_at, due_now.next.at and due_now.next.at + offset_s) if at is not None]
    return _Part(actions=actions + begun.actions, records=records, next=due_now.next, times=tuple(times))


def _elapsed_s(records: Sequence[Record], now: float, monotonic: float) -> float | None:
    """Return how long ago the last task of the schedule started, None if there was none that is believed."""
    known = (each.elapsed_s(now, monotonic) for each in records if each.attempt)
    return min((elapsed_s for elapsed_s in known if elapsed_s is not None), default=None)


def _suspends(schedule: Schedule, observed: Observed, history: History | None) -> str:
    """Return why the times of a schedule do not count, "" if they do; those of a sleeping app do.

    Once they count, an app without a revision does not end that: what is owed waits, and is told to be late.
    """
    if observed.state == "stopped":
        return f"{schedule.app} is stopped"
    if schedule.paused:
        return "its manifest pauses it"
    is_new = history is None or history.id != schedule.id or history.suspended
    return f"{schedule.app} has not been deployed yet" if is_new and not observed.deployed else ""


def _suspended(schedule: Schedule, observed: Observed, why: str, now: float) -> _Part:
    found = observed.schedules.get(schedule.name, _UNKNOWN)
    actions, records = buried(found.records, now)
    actions += tuple(
        Skip(occurrence=each.occurrence, cause=why) for each in records if each.state == "owed" and not each.triggered
    )
    history = found.history
    if history is None or history.id != schedule.id:
        history = History(id=schedule.id)
    if history.suspended != why:
        suspended = History(id=history.id, lived=history.lived, suspended=why)
        actions += (Remember(schedule=schedule.name, history=suspended, cause=why),)
    records = after_actions(records, actions, now)
    if observed.state == "stopped" or not observed.deployed:
        return _Part(actions=actions, records=records)
    begun = starts(schedule, records, now)  # what an operator triggers runs all the same
    return _Part(
        actions=actions + begun.actions, records=records, times=() if begun.retry_at is None else (begun.retry_at,)
    )


def _obsolete(schedule: Schedule, records: Sequence[Record]) -> Iterator[Action]:
    """Yield what becomes of those that were owed by other times than the schedule has now."""
    for each in records:
        if each.state == "owed" and each.occurrence.id != schedule.id and not each.triggered:
            yield Skip(occurrence=each.occurrence, cause="the times of its schedule were changed")


def _removed(name: str, found: ObservedSchedule, now: float) -> Iterator[Action]:
    actions, records = buried(found.records, now)
    yield from actions
    for each in records:
        if each.state == "owed":
            yield Skip(occurrence=each.occurrence, cause="its schedule was removed")
        elif each.state == "running":
            yield Stop(occurrence=each.occurrence, cause="its schedule was removed")
    if found.history is not None:
        yield Forget(schedule=name, cause="its schedule was removed")
