"""What is due now and then is due at the same moments: an idle daemon wakes up once for all of it."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from reconciler.convergence.ticks import next_tick, until_tick
from tests.simulation.clock import run


def moments(*periods: float, within_s: float) -> list[float]:
    """The different moments, in milliseconds, at which tasks of these periods run that begin one after the other."""
    seen: list[float] = []

    async def repeat(every_s: float) -> None:
        while True:
            await next_tick(every_s)
            seen.append(asyncio.get_running_loop().time())

    async def story() -> None:
        tasks = []
        for period in periods:
            tasks.append(asyncio.get_running_loop().create_task(repeat(period)))
            await asyncio.sleep(0.777)
        await asyncio.sleep(within_s)
        for task in tasks:
            task.cancel()

    run(story())
    return sorted({round(moment, 3) for moment in seen})


def test_tasks_of_one_period_wake_together() -> None:
    alone = moments(5.0, within_s=60.0)
    assert alone == moments(5.0, 5.0, 5.0, within_s=60.0)[: len(alone)]


def test_longer_periods_add_no_moment() -> None:
    assert len(moments(5.0, 10.0, 30.0, 5.0, within_s=120.0)) <= 120.0 / 5.0 + 1


def test_the_clock_does_not_stand_still() -> None:
    assert len(moments(0.01, within_s=1.0)) > 50


@given(seconds=st.floats(0.001, 1e6), now=st.floats(0.0, 1e7))
def test_a_wait_until_a_tick_is_not_shorter_and_a_tenth_longer_at_most(seconds: float, now: float) -> None:
    waited = until_tick(seconds, now)
    assert seconds * 0.999 - 1e-6 <= waited <= seconds * 1.101 + 1e-6


def test_waits_that_end_at_about_the_same_time_end_together() -> None:
    ends = {round(now + until_tick(300.0, now), 3) for now in (1000.1, 1001.3, 1004.9)}
    assert len(ends) == 1
