"""Wait for one of the slots that bound how many apps are staged at once, and say so meanwhile."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from reconciler.convergence.slots import Slots
from reconciler.staging.progress import Phase, Progress

_WAITING = Phase(activity="waiting until other apps are staged")


@asynccontextmanager
async def slot_of(
    slots: Slots, app: str, progress: Progress, *, goes_on: bool = True
) -> AsyncIterator[Callable[[], None]]:
    """Hold a slot for an app, and yield what gives it up early; `progress` is told if all of them are taken.

    All but the first of an app `goes_on`.
    """
    if slots.are_taken():
        progress(_WAITING)
    async with slots.slot(goes_on=goes_on, of=app) as leave:
        yield leave
