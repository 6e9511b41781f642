"""An event loop on which time passes only when nobody has anything to do, and then at once."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_TICK_S = 1e-6


class NothingWillHappen(Exception):
    """Everything waits, and for nothing that has a time."""


class _Leap(selectors.SelectSelector):
    """Waits for nothing real: tells how long the loop would have slept."""

    slept_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise NothingWillHappen
        self.slept_s += max(timeout, _TICK_S)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Starts at 1000 seconds; each round costs a microsecond, as a loop without any cost could stand still for ever."""

    def __init__(self) -> None:
        self._leap = _Leap()
        super().__init__(self._leap)

    def time(self) -> float:
        return 1000.0 + self._leap.slept_s


def run(story: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a clock of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(story)
