"""When an instance is looked at again, and when a new one takes over for its memory."""

import pytest

from reconciler.planning.isolation.limits import NO_LIMITS, Limits
from reconciler.planning.isolation.watching import EVERY_S, Pressure, Use, look_again_s, near, takes_over_at, together

M = 1 << 20
LIMITS = Limits(memory=512 * M)


def has(megabytes: float, limits: Limits = LIMITS, *, age_s: float = 700, rest_s: float = 600) -> str:
    return near(Use(at=0, memory=int(megabytes * M)), limits, age_s=age_s, start_s=1, rest_s=rest_s)


def test_near_its_limit_a_new_one_takes_over_and_it_is_said_how_near() -> None:
    assert has(470) == "it has 470 of 512 MB"
    assert has(460) == ""
    assert has(460, NO_LIMITS) == ""


def test_one_that_was_started_a_short_time_ago_stays_however_much_it_needs() -> None:
    assert has(512, age_s=599) == ""
    assert has(512, age_s=0.1, rest_s=0) == "it has 512 of 512 MB"


def paced(*megabytes: float, every_s: float = 1) -> Use:
    use = Use(at=0, memory=int(megabytes[0] * M))
    for number, memory in enumerate(megabytes[1:], 1):
        use = use.next(number * every_s, int(memory * M))
    return use


def test_a_new_one_takes_over_the_sooner_the_faster_the_old_one_grows_and_the_longer_a_start_takes() -> None:
    leak = paced(100, 150, 200)
    assert leak.pace == 50 * M
    assert takes_over_at(leak, LIMITS, start_s=0) == pytest.approx(LIMITS.soft_memory)
    assert takes_over_at(leak, LIMITS, start_s=1) == pytest.approx((512 - 50 * 1.8) * M)
    assert takes_over_at(leak, LIMITS, start_s=60) == pytest.approx(512 * M * 0.9 / 2, abs=1)
    assert takes_over_at(leak, Limits(soft=64 * M), start_s=60) == 64 * M
    said = near(paced(230, 280, 330), LIMITS, age_s=700, start_s=3, rest_s=600)
    assert said == "it has 330 of 512 MB, and takes 50 MB more each second"


def test_what_grows_once_or_shrinks_is_no_pace() -> None:
    assert paced(100, 100, 300).pace == paced(100, 300, 300).pace == paced(300, 200, 100).pace == 0


def test_one_that_rests_is_looked_at_every_five_seconds() -> None:
    assert look_again_s(Use(at=0, memory=100 * M), LIMITS, age_s=3600, start_s=1) == EVERY_S


def test_one_that_is_young_is_looked_at_sooner() -> None:
    waits = [look_again_s(Use(at=0, memory=100 * M), LIMITS, age_s=age, start_s=1) for age in (0.0, 0.4, 4.0, 40.0)]
    assert waits == [0.05, 0.1, 1.0, EVERY_S]


def test_one_that_grows_fast_is_looked_at_before_it_can_reach_its_limit() -> None:
    use = Use(at=0, memory=100 * M).next(5, 200 * M)
    assert use.growth == 20 * M
    assert look_again_s(use, LIMITS, age_s=3600, start_s=1) == EVERY_S
    fast = Use(at=0, memory=100 * M).next(1, 300 * M)
    assert 0.3 < look_again_s(fast, LIMITS, age_s=3600, start_s=1) < 0.5
    faster = Use(at=0, memory=100 * M).next(0.1, 450 * M)
    assert look_again_s(faster, LIMITS, age_s=3600, start_s=1) == 0.05


def test_one_that_would_come_too_late_at_its_soft_limit_is_looked_at_for_the_time_that_is_left() -> None:
    fast = paced(100, 150, 200, every_s=0.1)
    most = takes_over_at(fast, LIMITS, start_s=0.2)
    assert most is not None
    assert most < 250 * M
    assert look_again_s(fast, LIMITS, age_s=3600, start_s=0.2) == pytest.approx(max(0.05, (most / M - 200) / 500 / 2))


def test_two_looks_at_once_keep_the_pace_that_is_known() -> None:
    use = Use(at=0, memory=0).next(1, 10).next(1, 20)
    assert use.growth == 10


def test_processes_that_wait_for_memory_for_long_are_told_once() -> None:
    pressure = Pressure().next(0.5, 100)
    assert not pressure.is_due(129)
    assert pressure.is_due(130)
    assert not Pressure(since=100, told=True).next(0.5, 200).is_due(300)
    assert pressure.next(0.1, 120).since is None


def test_instances_that_are_due_at_about_the_same_time_are_looked_at_together_and_never_later() -> None:
    times = [together(100.0 + number / 10, 95.0) for number in range(20)]
    assert sorted(set(times)) == [100.0, 100.5, 101.0, 101.5]
    assert all(time <= 100.0 + number / 10 for number, time in enumerate(times))
    assert together(95.7, 95.0) == 95.7
