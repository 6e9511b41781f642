"""The instants at which Debian's cron runs a job, written down from its manual pages: one minute after another.

Nothing here knows how the package computes them. The daemon has a clock of its own, which follows the clock on the
wall: what it does when that is ahead or behind by less than three hours is what the manual says of daylight saving.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_DAY_S = 86400
_NIGHT_S = 36 * 3600


@dataclass(frozen=True)
class Job:
    """The five fields of a line of a crontab, as sets."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    is_wild: bool

    def is_on(self, at: datetime) -> bool:
        if at.month not in self.months:
            return False
        by_month, by_week = at.day in self.days, at.isoweekday() % 7 in self.weekdays
        return by_month and by_week if self.any_day else by_month or by_week

    def is_due(self, at: datetime) -> bool:
        return at.minute in self.minutes and at.hour in self.hours and self.is_on(at)


def job(line: str) -> Job:
    minute, hour, day, month, weekday = line.split()
    return Job(
        minutes=_set(minute, 0, 59),
        hours=_set(hour, 0, 23),
        days=_set(day, 1, 31),
        months=_set(month, 1, 12, {name: number + 1 for number, name in enumerate(MONTHS)}),
        weekdays=frozenset(each % 7 for each in _set(weekday, 0, 7, {name: each for each, name in enumerate(DAYS)})),
        any_day=day[0] == "*" or weekday[0] == "*",
        is_wild=minute[0] == "*" or hour[0] == "*",
    )


def _set(field: str, low: int, high: int, names: dict[str, int] | None = None) -> frozenset[int]:
    def number(text: str) -> int:
        return (names or {}).get(text.lower(), -1) if not text.isdigit() else int(text)

    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        start, end = (low, high) if span == "*" else (number(first), number(last or first))
        found.update(range(start, end + 1, int(step or 1)))
    return frozenset(found)


def walk(jobs: list[Job], zone: ZoneInfo, start: int, end: int) -> list[list[int]]:
    """The instants of each job from `start` to before `end`, whole minutes; at `start` all clocks agree."""
    found: list[list[int]] = [[] for _ in jobs]
    virtual = _local(zone, start) - timedelta(minutes=1)
    for instant in range(start, end, 60):
        now = _local(zone, instant)
        moved = (now - virtual) // timedelta(minutes=1)
        skipped: list[datetime] = []
        if moved == 1 or not -180 < moved <= 180:  # as ever; or a correction, and the new time is used immediately
            fixed, virtual = [now], now
        elif moved > 1:
            skipped = [virtual + timedelta(minutes=each) for each in range(1, moved + 1)]
            fixed, virtual = skipped, now
        else:
            fixed = []
        for each, instants in zip(jobs, found, strict=True):
            if any(each.is_due(at) for at in ([now] if each.is_wild else fixed)):
                instants.append(instant)
    return found


def plain(line: str, zone: ZoneInfo, start: int, end: int, around: list[tuple[int, int]]) -> Iterator[int]:
    """The instants of a job from `start` to before `end` on the days between the nights in which clocks change."""
    each = job(line)
    for day, minutes, offset, first, last in _days(each, zone, start, end, around):
        yield from (day + second - offset for second in minutes if first <= day + second < last)


def plain_counts(line: str, zone: ZoneInfo, start: int, end: int, around: list[tuple[int, int]]) -> Iterator[int]:
    """How many instants of a job there are on each of those days."""
    for day, minutes, _, first, last in _days(job(line), zone, start, end, around):
        whole = first <= day and day + _DAY_S <= last
        yield len(minutes) if whole else sum(first <= day + second < last for second in minutes)


def _days(
    each: Job, zone: ZoneInfo, start: int, end: int, around: list[tuple[int, int]]
) -> Iterator[tuple[int, list[int], int, int, int]]:
    """Yield each local day of the job: its second, the seconds in it, the offset, and the bounds of its part."""
    minutes = sorted(60 * (60 * hour + minute) for hour in each.hours for minute in each.minutes)
    at = start
    for low, high in (*around, (end, end)):
        offset = _offset_s(zone, at)
        first, last = at + offset, low + offset
        for day in range(first // _DAY_S, last // _DAY_S + 1):
            if each.is_on(datetime.fromtimestamp(day * _DAY_S, UTC)):
                yield day * _DAY_S, minutes, offset, first, last
        at = high


def nights(changes: list[int]) -> list[tuple[int, int]]:
    """The time around each change of a zone's offset, as one where they are close."""
    found: list[tuple[int, int]] = []
    for change in changes:
        low, high = change // 60 * 60 - _NIGHT_S, change // 60 * 60 + _NIGHT_S
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], high)
        else:
            found.append((low, high))
    return found


def changes_of(zone: ZoneInfo, start: int, end: int) -> list[int]:
    """The quarters of an hour that follow a change of the offset, looked for one by one."""
    found, before = [], _offset_s(zone, start)
    for instant in range(start, end, 900):
        offset = _offset_s(zone, instant)
        if offset != before:
            found.append(instant)
        before = offset
    return found


def _offset_s(zone: ZoneInfo, instant: int) -> int:
    offset = datetime.fromtimestamp(instant, zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def _local(zone: ZoneInfo, instant: int) -> datetime:
    return datetime.fromtimestamp(instant, zone).replace(tzinfo=None, fold=0)
