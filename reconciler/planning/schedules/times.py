"""The instants of a schedule, by the rules of Debian's cron for the nights in which clocks are changed.

A schedule that names times of the day runs once a day: what a gap skips runs right after it, what comes twice runs the
first time. One with `*` in its minute or hour runs by the clock as it is. A gap of three hours or more, or a longer
fold, is a correction of the zone: the new time is used at once. All arithmetic is in UTC. cronsim is not asked about
zones: of clocks that change by half an hour or at midnight it loses occurrences.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from itertools import islice
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.schedules.expression import Expression, expression_of
from reconciler.planning.schedules.schedule import Schedule
from reconciler.planning.schedules.zones import next_change, offset_s, zone_of
from reconciler.planning.wording import span

Change: TypeAlias = Literal["gap", "fold"]

_DAY_S = 86400
_CORRECTION_S = 3 * 3600
# A clock that was set back is caught up with by then.
_LOOK_BACK_S = _CORRECTION_S + 3600


def next_after(schedule: Schedule, instant: float) -> int | None:
    """Return the first occurrence after an instant; None if none comes within fifty years."""
    return next(occurrences(schedule, instant), None)


def between(schedule: Schedule, after: float, until: float) -> Iterator[int]:
    """Yield the occurrences after one instant and not after another."""
    for at in occurrences(schedule, after):
        if at > until:
            return
        yield at


def occurrences(schedule: Schedule, after: float) -> Iterator[int]:
    """Yield the occurrences after an instant, in order; those of `every` as if the last had started at the instant."""
    start = int(after // 1)
    if schedule.at is None:
        step = _step_s(schedule)
        while True:
            start += step
            yield start
    try:
        yield from _instants(expression_of(schedule.at), zone_of(schedule.zone), start)
    except OverflowError:  # beyond the year 9999, where a clock may well be set to
        return


def latest(schedule: Schedule, after: int, until: int, most: int) -> tuple[int, ...]:
    """Return the last occurrences after one instant and not after another, at most so many, oldest first."""
    if schedule.at is None:
        number, step = count_between(schedule, after, until), _step_s(schedule)
        return tuple(after + step * each for each in range(max(1, number - most + 1), number + 1))
    window = 3600
    while True:
        low = max(after, until - window)
        found = tuple(between(schedule, low, until))[-most:]
        if len(found) >= most or low == after:
            return found
        window *= 4


def count_between(schedule: Schedule, after: int, until: int) -> int:
    """Return how many occurrences are after one instant and not after another, without looking at each."""
    if schedule.at is None:
        return max(0, (until - after) // _step_s(schedule))
    expression, zone = expression_of(schedule.at), zone_of(schedule.zone)
    total, at = 0, after
    while at < until:
        end = min(at + 30 * _DAY_S, until)
        change = next_change(zone, at - _LOOK_BACK_S, end)
        if change is None:
            offset = offset_s(zone, at)
            total += expression.count(at + offset, end + offset)
        elif change - 1 > at:
            # Up to the change by the old offset, and a day over it one by one.
            offset, end = offset_s(zone, at), change - 1
            total += expression.count(at + offset, end + offset)
        else:
            end = min(at + _DAY_S, until)
            total += sum(1 for _ in between(schedule, at, end))
        at = end
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedNight:
    """A night in which the clocks change and a schedule is not simply on time; `told` says what will happen."""

    at: int
    change: Change
    told: str


def gaps_and_folds(schedule: Schedule, now: float, horizon_s: float) -> tuple[ChangedNight, ...]:
    """Return the nights within `horizon_s` seconds whose gap or fold has times of the schedule in it."""
    if schedule.at is None or schedule.zone == "UTC":
        return ()
    expression, zone = expression_of(schedule.at), zone_of(schedule.zone)
    found, at, until = list[ChangedNight](), int(now), int(now + horizon_s)
    while (change := next_change(zone, at, until)) is not None:
        night = _night(expression, schedule.zone, change, offset_s(zone, at), offset_s(zone, change))
        found += [night] if night else []
        at = change
    return tuple(found)


def in_words(schedule: Schedule) -> str:
    """Return the times as an English phrase: `at 03:30 every day (Europe/Berlin)`, `every 10m`."""
    if schedule.at is None:
        return f"every {span(schedule.every_s or 0)}"
    return f"{expression_of(schedule.at).in_words()} ({schedule.zone})"


def upcoming(schedule: Schedule, now: float, number: int = 5) -> tuple[int, ...]:
    """Return the next instants at which it starts, its offset included."""
    offset = schedule.offset_s
    return tuple(at + offset for at in islice(occurrences(schedule, now - offset), number))


def _step_s(schedule: Schedule) -> int:
    return max(1, round(schedule.every_s or 1))


def _instants(expression: Expression, zone: tzinfo, after: int) -> Iterator[int]:
    """Yield the instants after `after`: the local times of one offset after another."""
    at = after - _LOOK_BACK_S if expression.is_fixed else after + 1
    last, held_until, offset = after, None, offset_s(zone, at)
    known_until, change = at, None  # no change of the offset up to there, or the next one
    while True:
        for local in expression.from_(at + offset):
            instant = local - offset
            if change is None and instant > known_until:
                ahead = max(instant, known_until + _DAY_S)
                change = next_change(zone, known_until, ahead)
                known_until = ahead
            if change is not None and instant >= change:
                break
            if instant > last and (held_until is None or local >= held_until):
                yield instant
                last = instant
        else:
            return
        before, offset = offset, offset_s(zone, change)
        held_until = None
        if expression.is_fixed and 0 < offset - before < _CORRECTION_S:
            if change > last and expression.names_between(change + before, change + offset):
                yield change
                last = change
        elif expression.is_fixed and -_CORRECTION_S <= offset - before < 0:
            held_until = change + before
        at, known_until, change = change, change, None


def _night(expression: Expression, zone: str, change: int, before: int, after: int) -> ChangedNight | None:
    """Return what happens around a change of the offset, None if no time of the schedule is concerned."""
    low, high = change + min(before, after), change + max(before, after)
    if high - low >= _CORRECTION_S or expression.is_every_hour:
        return None
    named = expression.names_between(low, high)
    if not named:
        return None
    day, first = _shown(named[0], "%Y-%m-%d"), _shown(named[0], "%H:%M")
    which = first if len(named) == 1 else f"{first} to {_shown(named[-1], '%H:%M')}"
    clocks = f"on {day} the clocks of {zone}"
    if after > before:
        told = f"{clocks} skip {_shown(low, '%H:%M')} to {_shown(high, '%H:%M')}: "
        made_up = f"it runs at {_shown(high, '%H:%M')} in place of {which}"
        return ChangedNight(
            at=change, change="gap", told=told + (made_up if expression.is_fixed else f"it does not run at {which}")
        )
    told = f"{clocks} show {_shown(low, '%H:%M')} to {_shown(high, '%H:%M')} twice: "
    times = "the first time only" if expression.is_fixed else "both times"
    return ChangedNight(at=change, change="fold", told=f"{told}it runs at {which} {times}")


def _shown(local: int, form: str) -> str:
    return datetime.fromtimestamp(local, UTC).strftime(form)
