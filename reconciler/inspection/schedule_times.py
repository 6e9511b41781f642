"""Tell when the schedules of an app start next, on their own clocks and on that of this host."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from reconciler.planning.fingerprint import Json
from reconciler.planning.schedules.schedule import Schedule
from reconciler.planning.schedules.times import in_words, upcoming
from reconciler.planning.schedules.zones import zone_of

_FORM = "%a %Y-%m-%d %H:%M"


def lines(schedules: Sequence[Schedule], now: float) -> Iterator[str]:
    """Yield the times of each schedule in words, and its next five below."""
    for schedule in schedules:
        if schedule.at is None:
            yield f"schedule {schedule.name}: {in_words(schedule)}, counted from its last start"
            continue
        paused = "; it is paused" if schedule.paused else ""
        yield f"schedule {schedule.name}: {in_words(schedule)}{paused}"
        yield from (f"  {_both(at, schedule.zone)}" for at in upcoming(schedule, now))


def facts(schedules: Sequence[Schedule], now: float) -> Json:
    """Return the same for programs, with instants in UTC; `every` has no times of its own."""
    return [
        {
            "name": schedule.name,
            "times": in_words(schedule),
            "zone": None if schedule.at is None else schedule.zone,
            "paused": schedule.paused,
            "next": []
            if schedule.at is None
            else [datetime.fromtimestamp(at, UTC).isoformat() for at in upcoming(schedule, now)],
        }
        for schedule in schedules
    ]


def _both(at: int, zone: str) -> str:
    """Return an instant in a zone and on this host, once where they agree."""
    there, here = datetime.fromtimestamp(at, zone_of(zone)), datetime.fromtimestamp(at, UTC).astimezone()
    told = f"{there:{_FORM}} {zone}"
    if there.utcoffset() == here.utcoffset():
        return told
    return f"{told}, {here:{_FORM}} {here:%Z} on this host"
