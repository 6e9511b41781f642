"""The kernel is asked to tell that the wall clock was set; no test of ours sets it."""

import asyncio
from pathlib import Path

import pytest

from reconciler.linux import clock_sets
from reconciler.linux.clock_sets import ClockSets


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_nothing_happens_while_nobody_sets_the_clock_and_no_descriptor_is_left() -> None:
    async def story() -> None:
        before = descriptors()
        sets = ClockSets()
        await asyncio.sleep(0.05)
        assert not sets.happened.is_set()
        sets.close()
        assert descriptors() <= before

    asyncio.run(story())


def test_a_timer_that_is_readable_says_that_the_clock_was_set_and_waits_for_the_next_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        monkeypatch.setattr(clock_sets, "_NEVER_S", 1)  # long past: the timer is due at once
        sets = ClockSets()
        monkeypatch.undo()
        async with asyncio.timeout(60):
            await sets.happened.wait()
        sets.happened.clear()
        await asyncio.sleep(0.05)
        assert not sets.happened.is_set()
        sets.close()

    asyncio.run(story())


def test_a_kernel_without_such_timers_is_told_of_and_nothing_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        before = descriptors()
        monkeypatch.setattr(clock_sets, "_CANCEL_ON_SET", 1 << 20)  # EINVAL
        with pytest.raises(OSError, match="Invalid argument"):
            ClockSets()
        assert descriptors() <= before

    asyncio.run(story())
