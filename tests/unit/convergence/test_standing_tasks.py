"""What a standing task promises: an error ends neither it nor another, and it is tried again ever more seldom."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from reconciler.convergence.backoff import Backoff
from reconciler.convergence.standing_tasks import Interrupted, StandingTasks
from tests.simulation.clock import run

Told = list[tuple[float, dict[str, Any]]]


class _Ended(Exception):
    pass


def kept(doing: Callable[[], Any], seconds: float) -> Told:
    """Keep a task for so long beside another that never fails; return what was told, and when."""
    told: Told = []

    async def daemon() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append((loop.time(), context)))
        try:
            async with asyncio.TaskGroup() as group:
                tasks = StandingTasks(group, backoff=Backoff(first_s=1, cap_s=8), noise=random.Random(1))
                other = tasks.keep("wait", asyncio.Event().wait)  # type: ignore[arg-type]
                tasks.keep("rotate logs", doing)
                await asyncio.sleep(seconds)
                assert not other.done()
                raise _Ended
        except* _Ended:
            pass

    run(daemon())
    return told


def test_an_error_is_told_and_the_task_begins_again_after_a_growing_pause() -> None:
    async def failing() -> None:
        raise KeyError("x")

    told = kept(failing, 60)
    assert {context["message"] for _, context in told} == {"cannot rotate logs"}
    assert isinstance(told[0][1]["exception"], KeyError)
    pauses = [context["retried_in_s"] for _, context in told]
    assert pauses[0] < pauses[1] < pauses[2] < pauses[3]
    assert max(pauses) <= 10


def test_a_task_that_ran_for_long_is_tried_again_at_once_when_it_fails() -> None:
    async def failing() -> None:
        await asyncio.sleep(100)
        raise KeyError("x")

    assert all(context["retried_in_s"] < 1.5 for _, context in kept(failing, 1000))


def test_a_task_that_ends_is_not_begun_again() -> None:
    begun: list[int] = []

    async def ending() -> None:
        begun.append(1)

    assert kept(ending, 100) == []
    assert begun == [1]


def test_a_task_that_waited_for_something_that_was_cancelled_begins_again() -> None:
    async def waiting() -> None:
        cancelled = asyncio.get_running_loop().create_future()
        cancelled.cancel()
        await cancelled

    assert isinstance(kept(waiting, 5)[0][1]["exception"], Interrupted)


def test_a_task_that_is_cancelled_ends() -> None:
    async def daemon() -> None:
        async with asyncio.TaskGroup() as group:
            tasks = StandingTasks(group, backoff=Backoff(), noise=random.Random(1))
            task = tasks.keep("wait", asyncio.Event().wait)  # type: ignore[arg-type]
            await asyncio.sleep(1)
            task.cancel()
        assert task.cancelled()

    run(daemon())
