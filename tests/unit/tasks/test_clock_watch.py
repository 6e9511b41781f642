"""Whether the kernel tells or not, a wall clock that was set is noticed, and one that was not is none."""

import asyncio
import time
from pathlib import Path

import pytest

from reconciler.linux.clock_sets import ClockSets
from reconciler.tasks import clock_watch
from reconciler.tasks.clock_watch import ClockWatch
from tests.simulation.clock import run


class Clock:
    """A wall clock that goes with the loop's, and can be set."""

    def __init__(self) -> None:
        self.ahead_s = 1e9

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead_s


@pytest.mark.parametrize("tells", [True, False])
def test_a_clock_that_was_set_is_noticed_once(monkeypatch: pytest.MonkeyPatch, tells: bool) -> None:
    clock, noticed = Clock(), list[float]()
    monkeypatch.setattr(time, "time", clock)
    if not tells:
        monkeypatch.setattr(clock_watch, "ClockSets", cannot)

    async def story() -> None:
        loop = asyncio.get_running_loop()
        watching = loop.create_task(ClockWatch(lambda: noticed.append(loop.time())).run())
        await asyncio.sleep(100)
        clock.ahead_s += 0.2  # a clock that is corrected
        await asyncio.sleep(100)
        assert noticed == []
        clock.ahead_s -= 3600
        await asyncio.sleep(100)
        watching.cancel()

    run(story())
    (at,) = noticed
    assert at <= 1200 + (30 if tells else 5) + 1


def cannot() -> None:
    raise OSError(22, "Invalid argument")


def test_the_kernel_tells_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_watch, "_SELDOM_S", 3600.0)
    made = list[ClockSets]()

    class Sets(ClockSets):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr(clock_watch, "ClockSets", Sets)

    async def story() -> None:
        clock, noticed = Clock(), asyncio.Event()
        monkeypatch.setattr(time, "time", clock)
        async with asyncio.timeout(60):
            watching = asyncio.get_running_loop().create_task(ClockWatch(noticed.set).run())
            while not made:
                await asyncio.sleep(0)
            clock.ahead_s += 60
            made[0].read()  # as the loop does when the kernel cancels the timer
            await noticed.wait()
            watching.cancel()

    before = descriptors()
    asyncio.run(story())
    assert descriptors() <= before  # what a test before has left may be closed meanwhile


def descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])
