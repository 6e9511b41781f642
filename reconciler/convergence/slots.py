"""A bound on how much of one kind is done at the same time, be it staging or starting."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator


class Slots:
    """A number of slots, each given up after `longest_s` by what takes longer."""

    def __init__(self, number: int, longest_s: float) -> None:
        self._number = number
        self._slots = asyncio.Semaphore(number)
        self._longest_s = longest_s

    @functools.cached_property
    def apart(self) -> "Slots":
        """As many others, for what takes as long as the author of an app likes: none of the rest waits for that."""
        return Slots(self._number, self._longest_s)

    def are_taken(self) -> bool:
        """Whether the next has to wait."""
        return self._slots.locked()

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot; it is given up early by what takes long, so that others do not starve."""
        await self._slots.acquire()
        leaving = iter((self._slots.release,))

        def leave() -> None:
            for release in leaving:
                release()

        timer = asyncio.get_running_loop().call_later(self._longest_s, leave)
        try:
            yield
        finally:
            timer.cancel()
            leave()
