"""The times of a schedule as five fields say them, on a clock that is never set: local times without a zone.

The fields mean what Debian's cron takes them for; cronsim parses them and tells which days they name. Local times are
seconds since 1970 as the clock on the wall shows them.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import date, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a host without schedules needs none
    from cronsim import CronSim

_NAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS = ("minute", "hour", "day of the month", "month", "day of the week")
# By the names that cronsim has for the fields.
_EXPECTED = {
    "minute": "bad minute, expected 0 to 59",
    "hour": "bad hour, expected 0 to 23",
    "day-of-month": "bad day of the month, expected 1 to 31",
    "month": "bad month, expected 1 to 12, or JAN to DEC",
    "day-of-week": "bad day of the week, expected 0 to 7, or SUN to SAT",
}
_LONGEST = 200
_DAY_S = 86400
_EPOCH = date(1970, 1, 1)
# February 29 on a certain day of the week comes every 28 years, and every 40 around 2100.
_NEVER_AFTER_DAYS = 50 * 366


class Expression:
    """The times that five fields name. Two are equal when their texts are."""

    def __init__(self, text: str, parsed: "CronSim") -> None:
        self.text = text
        self._parsed = parsed
        self._minutes = sorted(60 * hour + minute for hour in parsed.hours for minute in parsed.minutes)
        minute, hour = parsed.parts[1:3]
        # Whether it names times of the day, which Debian's cron keeps to once a day also when clocks are changed.
        self.is_fixed = not minute.startswith("*") and not hour.startswith("*")
        self.is_every_hour = hour == "*"

    def after(self, local: int) -> int | None:
        """Return the first of its local times after `local`; None if none comes within fifty years."""
        return next(self.from_(local + 1), None)

    def from_(self, local: int) -> Iterator[int]:
        """Yield its local times from `local` on, each once, in order; ends when none comes within fifty years."""
        day, second = divmod(local, _DAY_S)
        first = bisect_left(self._minutes, -(-second // 60))
        last_match = day
        while day - last_match <= _NEVER_AFTER_DAYS:
            if self._is_named(day):
                last_match = day
                for minute in self._minutes[first:]:
                    yield day * _DAY_S + minute * 60
                day += 1
            else:
                day = self._next_candidate(day)
            first = 0

    def count(self, low: int, high: int) -> int:
        """Return how many of its local times are after `low` and not after `high`."""
        return sum(
            bisect_right(self._minutes, (high - day * _DAY_S) // 60)
            - bisect_right(self._minutes, (low - day * _DAY_S) // 60)
            for day in range(low // _DAY_S, high // _DAY_S + 1)
            if self._is_named(day)
        )

    def names_between(self, low: int, high: int) -> list[int]:
        """Return its local times from `low` on and before `high`."""
        found = []
        for local in self.from_(low):
            if local >= high:
                break
            found.append(local)
        return found

    def in_words(self) -> str:
        """Return the times as an English phrase: `at 03:30 every day`."""
        try:
            said = self._parsed.explain()
        except (ValueError, LookupError, AttributeError, NotImplementedError):
            return self.text  # it explains less than it parses
        return said[:1].lower() + said[1:]

    def _is_named(self, day: int) -> bool:
        at = _EPOCH + timedelta(days=day)
        return at.month in self._parsed.months and self._parsed.match_day(at)

    def _next_candidate(self, day: int) -> int:
        """Return the next day, or the first day of the next month when this one is not named."""
        at = _EPOCH + timedelta(days=day)
        if at.month in self._parsed.months:
            return day + 1
        return ((at.replace(day=1) + timedelta(days=32)).replace(day=1) - _EPOCH).days


@lru_cache(1024)
def expression_of(text: str) -> Expression:
    """Return what five fields, or a name such as `@daily`, mean. Raises ValueError that says what is wrong."""
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    fields = _NAMES.get(text.strip().lower(), text).split()
    if text.strip().startswith("@") and len(fields) == 1:
        raise ValueError(f'"{shown}": expected @hourly, @daily, @weekly, @monthly or @yearly')
    if len(fields) != len(_FIELDS) or len(text) > _LONGEST:
        raise ValueError(f'"{shown}": expected five fields ({", ".join(_FIELDS)}), or a name such as @daily')
    found = Expression(text, _parsed(fields, shown))
    # From a day on which a cycle of leap years begins.
    if found.after((date(2000, 1, 1) - _EPOCH).days * _DAY_S) is None:
        raise ValueError(f'"{shown}" never comes')
    return found


def _parsed(fields: list[str], shown: str) -> "CronSim":
    from datetime import datetime

    from cronsim import CronSim, CronSimError

    start = datetime(2000, 1, 1)  # noqa: DTZ001  # local times without a zone
    try:
        return CronSim(" ".join(fields), start)
    except CronSimError as error:
        bad = str(error).partition(" ")[2]
        try:  # days that are right by themselves, and in none of the months
            CronSim(" ".join((*fields[:3], "*", fields[4])), start)
        except CronSimError:
            pass
        else:
            if bad == "day-of-month":
                raise ValueError(f'"{shown}" never comes') from None
        raise ValueError(f'"{shown}": {_EXPECTED[bad]}') from None
