"""Blocking work in a thread that never outlives the task that asked for it."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[Callable[[], bool]], T]) -> T:
    """Run `work(go_on)` in a thread; `go_on()` turns false when the task is cancelled.

    The cancellation is passed on once the thread has ended, so that nothing is cleaned up under it.
    """
    cancelled: asyncio.CancelledError | None = None
    thread = asyncio.ensure_future(asyncio.to_thread(work, lambda: cancelled is None))
    while not thread.done():
        try:
            await asyncio.wait((thread,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        thread.exception()  # whatever it was, nobody waits for it any more
        raise cancelled
    return thread.result()
