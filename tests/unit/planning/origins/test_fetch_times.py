"""An origin is fetched at its interval, and the more rarely the more fetches in a row have failed."""

from collections import Counter

import pytest

from reconciler.planning.origins.fetch_times import deviation_of, renewal_wait_s, wait_s
from reconciler.planning.origins.observed import FetchFailure


def failed(count: int, code: str = "name") -> FetchFailure:
    return FetchFailure(code=code, why="", count=count)


def test_hosts_deviate_from_the_interval_by_up_to_a_tenth_each_always_by_as_much() -> None:
    found = [deviation_of(f"web{number}", "fleet") for number in range(200)]
    assert found == [deviation_of(f"web{number}", "fleet") for number in range(200)]
    assert -0.1 <= min(found) < -0.05 < 0.05 < max(found) <= 0.1
    assert wait_s(None, 60.0, 0.1) == pytest.approx(66.0)


def test_each_failure_in_a_row_doubles_the_wait_up_to_a_quarter_of_an_hour() -> None:
    assert [wait_s(failed(count), 60.0, 0.0) for count in (1, 2, 3)] == [5.0, 10.0, 20.0]
    assert wait_s(failed(1000), 60.0, 0.0) == 900.0
    assert wait_s(failed(1000), 3600.0, 0.0) == 3600.0
    assert wait_s(failed(1), 1.0, 0.0) == 1.0


def test_a_server_that_counts_requests_is_left_alone_for_a_minute() -> None:
    assert wait_s(failed(1, "rate-limited"), 60.0, 0.0) == 60.0


def test_what_stays_damaged_is_fetched_anew_after_waits_that_double_up_to_a_quarter_of_an_hour() -> None:
    assert [renewal_wait_s(renewals) for renewals in (1, 2, 3, 8, 1000)] == [5.0, 10.0, 20.0, 640.0, 900.0]


def test_five_hundred_hosts_that_start_at_once_soon_ask_evenly() -> None:
    """Test 48: within half an hour no second has many more than its share, and no host asks more often."""
    every_s, by_second = 60.0, Counter[int]()
    for number in range(500):
        interval_s = wait_s(None, every_s, deviation_of(f"web{number}", "fleet"))
        looks = [turn * interval_s for turn in range(int(3600 / interval_s) + 1)]
        assert len(looks) <= 3600 / (0.9 * every_s) + 1
        by_second.update(int(at) for at in looks if 1800 <= at < 3600)
    share = 500 / every_s
    assert sum(by_second.values()) == pytest.approx(1800 * share, rel=0.02)
    assert max(by_second.values()) < 3 * share
    assert len(by_second) > 1750
