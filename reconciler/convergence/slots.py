"""A bound on how much of one kind is done at the same time, be it staging or starting."""

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import AsyncIterator, Callable


class Slots:
    """A number of slots, each given up after `longest_s` by what takes longer.

    What goes on comes before what begins: it is done sooner, and fewer are half done at a time.
    """

    def __init__(self, number: int, longest_s: float) -> None:
        self._number = number
        self._free = number
        self._going_on: deque[asyncio.Future[None]] = deque()
        self._beginning: deque[asyncio.Future[None]] = deque()
        self._longest_s = longest_s

    @functools.cached_property
    def apart(self) -> "Slots":
        """As many others, for what takes as long as the author of an app likes: none of the rest waits for that."""
        return Slots(self._number, self._longest_s)

    def times(self, number: int) -> "Slots":
        """So many times as many others, given up after as long."""
        return Slots(number * self._number, self._longest_s)

    def are_taken(self) -> bool:
        """Whether the next has to wait."""
        return self._free == 0

    @contextlib.asynccontextmanager
    async def slot(self, *, goes_on: bool = False) -> AsyncIterator[Callable[[], None]]:
        """Wait for a slot, and yield what gives it up early, as what takes long does, so that others do not starve.

        What `goes_on` had a slot before, for an earlier part of the same.
        """
        await self._acquire(self._going_on if goes_on else self._beginning)
        leaving = iter((self._release,))

        def leave() -> None:
            for release in leaving:
                release()

        timer = asyncio.get_running_loop().call_later(self._longest_s, leave)
        try:
            yield leave
        finally:
            timer.cancel()
            leave()

    async def _acquire(self, waiting: deque[asyncio.Future[None]]) -> None:
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._release()  # it came at the same moment
            raise

    def _release(self) -> None:
        """Hand the slot to the next that waits."""
        while waiting := self._going_on or self._beginning:
            turn = waiting.popleft()
            if not turn.done():  # else it was cancelled
                turn.set_result(None)
                return
        self._free += 1
