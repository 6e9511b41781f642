"""Notice that the wall clock was set: the kernel tells, and where it cannot, both clocks are compared now and then."""

import asyncio
import time
from collections.abc import Callable
from contextlib import closing, suppress

from reconciler.convergence.ticks import next_tick, next_tick_or
from reconciler.linux.clock_sets import ClockSets

_LOOK_EVERY_S = 5.0
_SELDOM_S = 30.0
_STEP_S = 0.5


class ClockWatch:
    """Calls `when_set` after the wall clock was set by more than half a second."""

    def __init__(self, when_set: Callable[[], None]) -> None:
        self._when_set = when_set
        self._ahead_s = 0.0

    async def run(self) -> None:
        """Watch until cancelled."""
        self._ahead_s = _ahead_s()
        with suppress(OSError), closing(ClockSets()) as sets:
            while True:
                await next_tick_or(sets.happened, _SELDOM_S)
                sets.happened.clear()
                self._compare()
        while True:  # the kernel does not tell
            await next_tick(_LOOK_EVERY_S)
            self._compare()

    def _compare(self) -> None:
        before, self._ahead_s = self._ahead_s, _ahead_s()
        if abs(self._ahead_s - before) > _STEP_S:
            self._when_set()


def _ahead_s() -> float:
    """Return how far the wall clock is ahead of the loop's."""
    return time.time() - asyncio.get_running_loop().time()  # noqa: TID251  to notice that it was set
