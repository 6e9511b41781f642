"""Limit the number and duration of connections per server."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from reconciler.services.provisioner import ServiceError


class ConnectionLimit:
    """Allows `most` connections to each server at once."""

    def __init__(self, most: int) -> None:
        self._slots: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(most))

    @asynccontextmanager
    async def slot(self, server: str, label: str, within_s: float) -> AsyncIterator[None]:
        """Wait for a slot and hold it, at most `within_s` together; `label` names the server in the error."""
        try:
            async with asyncio.timeout(within_s), self._slots[server]:
                yield
        except TimeoutError:
            raise ServiceError(f"{label} did not finish within {within_s:g} s") from None
