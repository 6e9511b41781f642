"""Times of schedules as a CronJob has them: the same times, or none."""

from datetime import datetime

import pytest
from cronsim import CronSim

from reconciler.cluster.cron import cron_of, deadline_of
from reconciler.planning.schedules.schedule import Schedule


def times(at: str | None = None, every_s: float | None = None) -> str | None:
    return cron_of(Schedule(app="shop", name="s", command=("true",), at=at, every_s=every_s))


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("30 3 * * *", "30 3 * * *"),
        ("*/5 * * * *", "*/5 * * * *"),
        ("0 9 * JAN-MAR MON-FRI", "0 9 * JAN-MAR MON-FRI"),
        ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 * * 5-7", "0 0 * * 0,5,6"),
        ("0 0 * * 1,7", "0 0 * * 0,1"),
        ("0 0 * * 1-7/2", "0 0 * * 0,1,3,5"),
        ("0 0 1 * SUN", "0 0 1 * 0"),
        ("@daily", "@daily"),
        ("0 0 L * *", None),
        ("0 0 * * 5L", None),
        ("0 0 * * 1#2", None),
        ("0 0 */2 * 1", None),
    ],
)
def test_times_are_kept_or_there_are_none(at: str, expected: str | None) -> None:
    assert times(at) == expected


@pytest.mark.parametrize("at", ["0 0 * * 7", "0 0 * * 5-7", "0 0 * * 1-7/2", "0 0 * * 1,7"])
def test_days_of_the_week_are_the_same_days(at: str) -> None:
    start = datetime(2026, 1, 1)  # noqa: DTZ001  local times
    one, other = CronSim(at, start), CronSim(str(times(at)), start)
    assert [next(one) for _ in range(20)] == [next(other) for _ in range(20)]


@pytest.mark.parametrize(
    ("every_s", "expected"),
    [
        (30, None), (60, "*/1 * * * *"), (600, "*/10 * * * *"), (420, None), (3600, "0 */1 * * *"),
        (4 * 3600, "0 */4 * * *"), (5 * 3600, None), (5400, None), (86400, "0 0 * * *"), (2 * 86400, None),
    ],
)  # fmt: skip
def test_even_distances_are_kept_or_there_are_none(every_s: float, expected: str | None) -> None:
    assert times(every_s=every_s) == expected


def test_what_is_skipped_when_it_is_missed_does_not_start_late() -> None:
    skip = Schedule(app="shop", name="s", command=("true",), at="@daily", missed="skip")
    assert (deadline_of(skip), deadline_of(Schedule(app="shop", name="s", command=("true",)))) == (60, 86400)
