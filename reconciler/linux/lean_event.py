"""An event like asyncio's, in a quarter of its memory: each app has several, for which mostly one task waits."""

import asyncio
from typing import Literal


class LeanEvent(asyncio.Event):
    """Use it like the event it is; what asyncio keeps in one, it does not have."""

    def __init__(self) -> None:  # that of asyncio makes a queue with room for 64 that wait
        self._happened = False
        self._waiting: tuple[asyncio.Future[None], ...] = ()

    def __repr__(self) -> str:
        return f"<LeanEvent {'set' if self._happened else 'unset'}, waited for by {len(self._waiting)}>"

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._happened

    def set(self) -> None:
        """Let all that wait go on, and none wait from now on."""
        self._happened = True
        for each in self._waiting:
            if not each.done():
                each.set_result(None)

    def clear(self) -> None:
        """Let those wait that come from now on."""
        self._happened = False

    async def wait(self) -> Literal[True]:
        """Wait until it has happened."""
        if not self._happened:
            woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting = (*self._waiting, woken)
            try:
                await woken
            finally:
                self._waiting = tuple(each for each in self._waiting if each is not woken)
        return True
