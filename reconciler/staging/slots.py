"""Wait for one of the slots that bound how many apps are staged at once, and say so meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from reconciler.staging.progress import Phase, Progress

_WAITING = Phase(activity="waiting until other apps are staged")


@asynccontextmanager
async def slot_of(slots: asyncio.Semaphore, progress: Progress) -> AsyncIterator[None]:
    """Hold a slot; `progress` is told if all of them are taken."""
    if slots.locked():
        progress(_WAITING)
    async with slots:
        yield
