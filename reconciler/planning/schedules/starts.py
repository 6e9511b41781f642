"""Decide which occurrences of a schedule start, wait or are ended, by its rules of overlap and of retries. Pure.

Unless tasks of the schedule may overlap, at most one of them is running, and those that make up for missed ones run
one after another in any case.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from reconciler.linux.dataclass import dataclass
from reconciler.planning.schedules.actions import Action, Bury, Owe, Skip, Start, Stop
from reconciler.planning.schedules.observed import Occurrence, Record
from reconciler.planning.schedules.schedule import Schedule
from reconciler.planning.wording import counted

MOST_WAITING = 10
KILLED = "the daemon was killed, and its process is gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Starts:
    """The actions on the occurrences of a schedule, and the instant at which the next retry is due, if one waits."""

    actions: tuple[Action, ...]
    retry_at: float | None = None


def buried(records: Sequence[Record], now: float) -> tuple[tuple[Action, ...], tuple[Record, ...]]:
    """Return the actions on what has lost its process, and the records as they are afterwards."""
    actions = tuple(
        Bury(occurrence=each.occurrence, number=each.attempt, cause=KILLED) for each in records if each.state == "lost"
    )
    return actions, tuple(
        replace(each, state="failed", ended_at=now) if each.state == "lost" else each for each in records
    )


def admitted(schedule: Schedule, occurrence: Occurrence, records: Sequence[Record]) -> Iterator[Action]:
    """Yield what becomes of an occurrence that is on time: owed or skipped, maybe in place of those that wait."""
    if any(each.occurrence == occurrence for each in records):
        return
    running = [each for each in records if each.state == "running"]
    waiting = [each for each in records if each.state == "owed"]
    if schedule.overlap == "skip" and (running or waiting):
        state = "is running" if running else "has not started"
        yield Skip(occurrence=occurrence, cause=f"another task of the schedule {state}")
    elif schedule.overlap == "queue" and len(waiting) >= MOST_WAITING:
        yield Skip(occurrence=occurrence, cause=f"{counted(len(waiting), 'task')} of the schedule wait already")
    else:
        if schedule.overlap == "replace":
            for each in waiting:
                yield Skip(occurrence=each.occurrence, cause="a newer one takes its place")
        yield Owe(occurrence=occurrence, cause="its time has come")


def starts(schedule: Schedule, records: Sequence[Record], now: float) -> Starts:
    """Return what starts and what is stopped for it; the records hold what was owed just now, too."""
    running = [each for each in records if each.state == "running"]
    owed = sorted((each for each in records if each.state == "owed"), key=_place)
    failed = [each for each in sorted(records, key=_place) if _is_retried(schedule, each, records, now)]
    retries = [(each, _retry_at(schedule, each, now)) for each in failed]
    ready = [each for each, at in retries if at <= now]
    later = min((at for _, at in retries if at > now), default=None)
    if schedule.overlap == "allow":
        made_up = [each for each in (*ready, *owed) if each.made_up]
        if any(each.made_up for each in running) or any(each.made_up for each, at in retries if at > now):
            made_up = []
        together = [each for each in (*ready, *owed) if not each.made_up]
        return Starts(actions=tuple(map(_start, (*made_up[:1], *together))), retry_at=later)
    if running:
        return Starts(actions=tuple(_replaced(schedule, running, owed)), retry_at=later)
    first = (ready or owed)[:1]
    if not ready and later is not None and owed and (owed[0].made_up or schedule.overlap == "queue"):
        first = []  # one after another: what is tried again comes before what waits
    return Starts(actions=tuple(map(_start, first)), retry_at=later)


def after_actions(records: Sequence[Record], actions: Sequence[Action], now: float) -> tuple[Record, ...]:
    """Return the records as they are when these actions have been recorded."""
    skipped = {each.occurrence for each in actions if isinstance(each, Skip)}
    owed = tuple(
        Record(occurrence=each.occurrence, state="owed", owed_at=now, made_up=each.made_up)
        for each in actions
        if isinstance(each, Owe) and all(other.occurrence != each.occurrence for other in records)
    )
    return (
        *(replace(each, state="skipped") if each.occurrence in skipped else each for each in records),
        *owed,
    )


def _place(record: Record) -> tuple[int, str]:
    return record.planned_at, record.occurrence.id


def _start(record: Record) -> Start:
    cause = "it is owed" if record.attempt == 0 else f"attempt {record.attempt} failed"
    return Start(occurrence=record.occurrence, number=record.attempt + 1, cause=cause)


def _replaced(schedule: Schedule, running: Sequence[Record], owed: Sequence[Record]) -> Iterator[Action]:
    """Yield the stops of what is running in the way of a newer one that is on time."""
    if schedule.overlap == "replace" and any(not each.made_up for each in owed):
        for each in running:
            yield Stop(occurrence=each.occurrence, cause="a newer one takes its place")


def _is_retried(schedule: Schedule, record: Record, records: Sequence[Record], now: float) -> bool:
    """Tell whether a failed occurrence is to be tried again, now or later."""
    if record.state != "failed" or not record.retriable or record.occurrence.id != schedule.id:
        return False
    if not 0 < record.attempt <= schedule.retries.count:
        return False
    if now - _retry_at(schedule, record, now) > schedule.within_s:
        return False
    if schedule.overlap in {"queue", "allow"}:
        return True
    # A newer one that came on time does the work of the older.
    return not any(
        other.planned_at > record.planned_at and not other.made_up and other.state not in {"skipped", "missed"}
        for other in records
    )


def _retry_at(schedule: Schedule, record: Record, now: float) -> float:
    """Return the instant from which a failed occurrence may be tried again; at once if the clock was set back."""
    ended_at = record.ended_at
    if ended_at is None or ended_at > now:
        return now
    return ended_at + schedule.retries.delay_s(record.attempt)
