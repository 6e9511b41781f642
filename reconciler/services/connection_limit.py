"""Connections to servers: a few at a time to each, and none of them for ever."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from reconciler.services.provisioner import ServiceError


class ConnectionLimit:
    """Has as many users of each server at once as it was told."""

    def __init__(self, at_once: int) -> None:
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(at_once))

    @asynccontextmanager
    async def slot(self, server: str, said: str, within_s: float) -> AsyncIterator[None]:
        """One of the few connections to a server, which `said` names, for so long at most; the wait for it counts."""
        try:
            async with asyncio.timeout(within_s), self._turns[server]:
                yield
        except TimeoutError:
            raise ServiceError(f"{said} did not do it within {within_s:g} s") from None
