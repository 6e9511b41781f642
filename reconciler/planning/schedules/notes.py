"""Notice what is late and what takes too long. Pure.

Each note stands as long as it is true and compares by what it is about, so that it can be told once.
"""

from collections.abc import Iterator, Sequence

from reconciler.planning.schedules.actions import Late, Note, TooLong
from reconciler.planning.schedules.observed import Record

LATE_AFTER_S = 300.0
_TIMES_THE_USUAL = 3
_LEAST_EXCESS_S = 60.0
_COMPARED = 10
_LEAST_COMPARED = 3


def notes(records: Sequence[Record], offset_s: int, now: float, monotonic: float) -> Iterator[tuple[float, Note]]:
    """Yield each note with the instant from which it stands, which may be still to come."""
    usual_s = _usual_s(records)
    for each in records:
        if each.state == "owed" and each.owed_at <= now:
            yield max(each.planned_at + offset_s, each.owed_at) + LATE_AFTER_S, Late(occurrence=each.occurrence)
        elif each.state == "running" and usual_s is not None:
            elapsed_s = each.elapsed_s(now, monotonic)
            if elapsed_s is not None:
                limit_s = max(_TIMES_THE_USUAL * usual_s, usual_s + _LEAST_EXCESS_S)
                yield now - elapsed_s + limit_s, TooLong(occurrence=each.occurrence, usual_s=usual_s)


def _usual_s(records: Sequence[Record]) -> float | None:
    """Return the median of how long the last ones that succeeded took; None while there are too few of them."""
    from statistics import median  # loads decimal and fractions: a host without schedules does without

    took = [
        each.ended_at - each.started_at
        for each in sorted(records, key=lambda each: each.planned_at)
        if each.state == "succeeded" and each.started_at is not None and each.ended_at is not None
    ]
    sane = [seconds for seconds in took if seconds >= 0][-_COMPARED:]
    return median(sane) if len(sane) >= _LEAST_COMPARED else None
