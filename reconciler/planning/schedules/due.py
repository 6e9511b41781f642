"""Decide which occurrences of a schedule are due, which were missed, and when the next one comes. Pure.

An occurrence that is noticed within a minute of its time, and is the only one, is on time. Everything else whose time
has passed was missed: the daemon or the host was off, or the clock was set forward.
"""

from reconciler.linux.dataclass import dataclass
from reconciler.planning.schedules.actions import Action, Miss, Owe, Remember
from reconciler.planning.schedules.history import History
from reconciler.planning.schedules.observed import Occurrence, Record
from reconciler.planning.schedules.schedule import Schedule
from reconciler.planning.schedules.times import count_between, latest, next_after

MOST_MADE_UP = 10
_ON_TIME_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """The next occurrence of the schedule with an id after an instant, None if none comes: computed once and kept."""

    id: str
    after: int
    at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """The actions on what is due, the occurrence that is on time if one is, and the next one."""

    actions: tuple[Action, ...]
    next: Next
    on_time: Occurrence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What is known of a schedule: its history and records, and the next occurrence as the last plan returned it.

    `elapsed_s` is how long ago its last task started, None if there was none: `every` counts from it.
    """

    history: History | None
    records: tuple[Record, ...]
    kept: Next | None = None
    elapsed_s: float | None = None


def due(schedule: Schedule, past: Past, now: int) -> Due:
    """Return what is due at `now`, the instant less the schedule's offset; nothing when its times begin to count."""
    history = past.history
    if history is not None and history.id == schedule.id and not history.suspended:
        return _due(schedule, history, past, now)
    if history is None or history.id != schedule.id:
        begun, cause = History(id=schedule.id).begun(now), "it is new, or its times were changed"
    else:
        begun, cause = history.begun(now), "its times count again"
    fresh = _due(schedule, begun, Past(history=begun, records=past.records), now)
    return Due(actions=(_remember(schedule, begun, cause), *fresh.actions), next=fresh.next)


def _due(schedule: Schedule, history: History, past: Past, now: int) -> Due:
    if schedule.at is None:
        return _due_every(schedule, history, past, now)
    end = history.end_before(now)
    if end is None:
        begun = history.begun(now)
        return Due(
            actions=(_remember(schedule, begun, "the clock was set back"),), next=_next(schedule, begun, now, None)
        )
    upcoming = _next(schedule, history, end, past.kept)
    if end >= now or upcoming.at is None or upcoming.at > now:
        return Due(actions=(), next=upcoming)
    return _passed(schedule, history, upcoming.at, end, now)


def _due_every(schedule: Schedule, history: History, past: Past, now: int) -> Due:
    end = history.end_before(now)
    started = None if past.elapsed_s is None else int(now - past.elapsed_s)
    known = [at for at in (end, started) if at is not None and at <= now]
    if not known or (history.lived and history.lived[-1][1] > now):
        # The clock was set back: count from the last start if that is known, otherwise from now.
        anchor = started if started is not None and started <= now else now
        begun = History(id=history.id).begun(anchor)
        return Due(
            actions=(_remember(schedule, begun, "the clock was set back"),), next=_next(schedule, begun, anchor, None)
        )
    anchor = max(known)
    upcoming = _next(schedule, history, anchor, None)
    taken = {record.planned_at for record in past.records}
    while upcoming.at in taken:
        upcoming = Next(id=upcoming.id, after=anchor, at=upcoming.at + 1)
    if upcoming.at is None or upcoming.at > now:
        return Due(actions=(), next=upcoming)
    return _passed(schedule, history, upcoming.at, anchor, now)


def _passed(schedule: Schedule, history: History, first: int, end: int, now: int) -> Due:
    """Return what is due when at least the occurrence `first` after `end` has come."""
    second = next_after(schedule, first)
    if (second is None or second > now) and now - first <= _ON_TIME_S:
        occurrence = Occurrence(schedule.name, history.id, first)
        remembered = history.continued(first)
        return Due(
            actions=(_remember(schedule, remembered, "an occurrence was considered"),),
            next=_next(schedule, remembered, first, None),
            on_time=occurrence,
        )
    return _missed(schedule, history, first, end, now)


def _missed(schedule: Schedule, history: History, first: int, end: int, now: int) -> Due:
    most = {"skip": 0, "once": 1, "all": MOST_MADE_UP}[schedule.missed]
    newest = latest(schedule, end, now, max(most, 1)) or (first,)
    made_up = tuple(at for at in newest if now - at <= schedule.within_s)[-most:] if most else ()
    count = max(count_between(schedule, end, now), len(newest))
    was = "its time" if count == 1 else f"the times of {count} occurrences"
    miss = Miss(
        schedule=schedule.name, id=history.id, count=count, first=first, last=newest[-1], made_up=len(made_up),
        cause=f"{was} passed while the daemon or the host was off, or the clock was set forward",
    )  # fmt: skip
    owed = tuple(
        Owe(occurrence=Occurrence(schedule.name, history.id, at), made_up=True, cause="it makes up for a missed one")
        for at in made_up
    )
    remembered = history.jumped((*made_up, newest[-1]))
    return Due(
        actions=(miss, *owed, _remember(schedule, remembered, "occurrences were missed")),
        next=_next(schedule, remembered, newest[-1], None),
    )


def _remember(schedule: Schedule, history: History, cause: str) -> Remember:
    return Remember(schedule=schedule.name, history=history, cause=cause)


def _next(schedule: Schedule, history: History, after: int, kept: Next | None) -> Next:
    """Return the next occurrence that was not considered, the one that was kept if it still is that."""
    if kept is not None and (kept.id, kept.after) == (history.id, after):
        return kept
    at = next_after(schedule, after)
    while schedule.at is not None and at is not None and (end := history.end_around(at)) is not None:
        at = next_after(schedule, end)
    return Next(id=history.id, after=after, at=at)
