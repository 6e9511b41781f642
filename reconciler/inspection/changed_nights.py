"""Find what `validate` warns of in schedules: times in the next gap or fold of their zone, and the files of pings."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from reconciler.documents.problem import Path as Place
from reconciler.planning.schedules.schedule import Schedule
from reconciler.planning.schedules.times import gaps_and_folds

_HORIZON_S = 366 * 86400.0


def nights(schedules: Sequence[Schedule], now: float | None = None) -> Iterator[tuple[Place, str]]:
    """Yield each first gap and each first fold of the next year that times of a schedule are in."""
    instant = datetime.now(UTC).timestamp() if now is None else now
    for schedule in schedules:
        told = set[str]()
        for night in gaps_and_folds(schedule, instant, _HORIZON_S):
            if night.change not in told:
                told.add(night.change)
                yield ("schedules", schedule.name, "at"), night.told


def files_of_pings(schedules: Sequence[Schedule]) -> list[tuple[Place, str]]:
    """Return the places of the files that pings name, with their paths."""
    return [
        (("schedules", schedule.name, "ping", when, "file"), file)
        for schedule in schedules
        for when, file in (("start", schedule.ping.start), ("ok", schedule.ping.ok), ("failed", schedule.ping.failed))
        if file is not None
    ]
