"""The times and rules of a schedule as a CronJob has them, as far as it can."""

import re
from typing import Literal

from reconciler.planning.schedules.schedule import Schedule

Policy = Literal["Allow", "Forbid", "Replace"]

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400
_PLAIN = re.compile(r"[0-9A-Za-z*,/-]+")
# A lost minute is not made up for; a CronJob is looked at every ten seconds.
_SKIPPED_S = 60
_POLICIES: dict[str, Policy] = {"skip": "Forbid", "replace": "Replace", "allow": "Allow", "queue": "Forbid"}
_SEVENTH = re.compile(r"\b7\b|SUN", re.IGNORECASE)
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_LAST = 7


def policy_of(schedule: Schedule) -> Policy:
    """Return what happens while the one before still runs."""
    return _POLICIES[schedule.overlap]


def deadline_of(schedule: Schedule) -> int:
    """Return how many seconds after its time one may still start."""
    return _SKIPPED_S if schedule.missed == "skip" else max(_SKIPPED_S, int(schedule.within_s))


def cron_of(schedule: Schedule) -> str | None:
    """Return the times as a CronJob has them, None if it cannot."""
    if schedule.at is None:
        return _each(int(schedule.every_s or 0))
    if schedule.at.startswith("@"):
        return schedule.at.lower()
    fields = schedule.at.split()
    days, week = fields[2], fields[4]
    if not all(_PLAIN.fullmatch(each) for each in fields) or _has_last(days, week):
        return None
    if ("/" in days or "/" in week) and days != "*" and week != "*":
        return None  # cron takes */2 for a star, which holds with the other field; a CronJob takes it for days
    found = _week(week)
    return None if found is None else " ".join((*fields[:4], found))


def _has_last(days: str, week: str) -> bool:
    """Return whether days are named that only a calendar tells: the last one, or one near another."""
    return bool(re.search(r"[LWlw#]", days) or re.search(r"[Ll#]$|#", week))


def _week(field: str) -> str | None:
    """Return days of the week with Sunday as 0, the only one that it is for a CronJob."""
    if not _SEVENTH.search(field):
        return field
    found: set[int] = set()
    for part in field.split(","):
        match = re.fullmatch(r"(?:(\w+)(?:-(\w+))?|\*)(?:/(\d+))?", part)
        if match is None:
            return None
        if match[1] is None:
            found.update(range(0, _LAST, int(match[3] or 1)))
            continue
        low = _day(match[1])
        high = low if match[2] is None else _day(match[2])
        if match[2] is not None and high == 0:
            high = _LAST
        if low > high:
            return None
        found.update(day % _LAST for day in range(low, high + 1, int(match[3] or 1)))
    return ",".join(map(str, sorted(found)))


def _day(word: str) -> int:
    return int(word) if word.isdecimal() else _DAYS.index(word.upper())


def _each(every_s: int) -> str | None:
    """Return times at an even distance, None where hours or days have no such."""
    if every_s < _MINUTE_S or every_s % _MINUTE_S:
        return None
    if every_s < _HOUR_S:
        return f"*/{every_s // _MINUTE_S} * * * *" if _HOUR_S % every_s == 0 else None
    if every_s < _DAY_S:
        hours = every_s // _HOUR_S
        return f"0 */{hours} * * *" if every_s % _HOUR_S == 0 and 24 % hours == 0 else None
    return "0 0 * * *" if every_s == _DAY_S else None
