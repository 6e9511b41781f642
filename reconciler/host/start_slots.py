"""The bound on how many instances start at the same time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class StartSlots:
    """A number of slots, each given up after `longest_s` by an instance that starts slowly."""

    def __init__(self, number: int, longest_s: float) -> None:
        self._slots = asyncio.Semaphore(number)
        self._longest_s = longest_s

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot; it is given up early when starting takes long, so that others do not starve."""
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
