"""Work that others decide the length of rests after it."""

import asyncio

from reconciler.convergence.rests import Rests


def test_what_several_do_at_once_rests_one_after_the_other() -> None:
    async def story() -> float:
        resting, now = Rests(), asyncio.get_running_loop().time
        began = now()
        await asyncio.gather(*(resting.rest(0.005) for _ in range(5)))
        return now() - began

    assert asyncio.run(story()) >= 0.1  # never sooner, however fast the host is


def test_a_rest_is_as_long_as_the_work_was_and_begins_when_the_one_before_ends() -> None:
    async def story() -> list[float]:
        resting = Rests()
        return [resting.after(1.0), resting.after(0.0), resting.after(2.0)]

    first, second, third = asyncio.run(story())
    assert (round(first), round(second), round(third)) == (4, 4, 12)
