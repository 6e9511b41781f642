"""Offsets of time zones from UTC, and the instants at which they change.

`zoneinfo` reads the rules of a zone once, from the host's files or else from the package tzdata, and keeps them in
memory: from then on a zone is a table, and every function here depends on its arguments only.
"""

from datetime import UTC, datetime, tzinfo
from functools import lru_cache

# No zone changes its offset twice within this time.
_STEP_S = 86400
_LONGEST_NAME = 100
_COUNTING_LEAP_SECONDS = "right/"


@lru_cache(256)
def zone_of(name: str) -> tzinfo:
    """Return a time zone by its name in the tz database. Raises ValueError that says what is wrong."""
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # a host without schedules needs none

    try:
        if not name.startswith(_COUNTING_LEAP_SECONDS) and len(name) <= _LONGEST_NAME:
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a directory of zones, and names that no file can have, too
        pass
    raise ValueError(_no_zone(name))


def offset_s(zone: tzinfo, at: int) -> int:
    """Return how many seconds the clocks of a zone are ahead of UTC at an instant."""
    if zone is UTC:
        return 0
    offset = datetime.fromtimestamp(at, zone).utcoffset()
    return 0 if offset is None else round(offset.total_seconds())


def next_change(zone: tzinfo, after: int, until: int) -> int | None:
    """Return the first instant after `after`, and no later than `until`, from which on the offset is another."""
    if zone is UTC:
        return None
    before, at = offset_s(zone, after), after
    while at < until:
        step = min(at + _STEP_S, until)
        if offset_s(zone, step) != before:
            return _first_other(zone, before, at, step)
        at = step
    return None


def _first_other(zone: tzinfo, before: int, low: int, high: int) -> int:
    """Return the first instant after `low` with another offset than `before`; `high` has one."""
    while high - low > 1:
        middle = (low + high) // 2
        if offset_s(zone, middle) == before:
            low = middle
        else:
            high = middle
    return high


def _no_zone(name: str) -> str:
    meant = _suggested(name)
    shown = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"
    hint = f"; {meant}?" if meant else ", expected a name such as Europe/Berlin or UTC"
    return f'there is no time zone "{shown}"{hint}'


@lru_cache(1)
def _names() -> dict[str, str]:
    """Return the names of all zones by what they are without capitals."""
    from zoneinfo import available_timezones

    return {each.casefold(): each for each in sorted(available_timezones())}


def _suggested(name: str) -> str:
    import difflib

    names = _names()
    wanted = name[:_LONGEST_NAME].casefold().replace(" ", "_")
    if wanted in names:
        return names[wanted]
    cities = {each.rpartition("/")[2]: names[each] for each in names}
    found = difflib.get_close_matches(wanted, names, n=1, cutoff=0.8)
    if found:
        return names[found[0]]
    found = difflib.get_close_matches(wanted, cities, n=1, cutoff=0.8)
    return cities[found[0]] if found else ""
