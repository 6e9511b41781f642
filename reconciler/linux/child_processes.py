"""Child processes of asyncio's that lead a group of their own: started whole or not at all, and ended as a whole."""

import asyncio
import os
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

Child = asyncio.subprocess.Process

_LOOK_EVERY_S = 0.01
_READ_S = 0.5  # what is left in a pipe is little, but somebody else may hold its other end
_BLOCK = 65536


async def started(starting: Coroutine[Any, Any, Child], grace_s: float = 0.0) -> Child:
    """What `create_subprocess_exec` starts: cancelled, that would forget a process that runs on."""
    start = asyncio.ensure_future(starting)
    try:
        return await asyncio.shield(start)
    except asyncio.CancelledError:
        with suppress(OSError):
            await end(await start, grace_s)
        raise


async def end(child: Child, grace_s: float = 0.0) -> None:
    """Kill the whole group and wait for its leader, however often that is cancelled.

    With a grace it is asked to end first; a cancellation ends the grace.
    """
    cancelled = False
    if grace_s > 0:
        _signal(child.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                await gone(child)
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            cancelled = True
    _signal(child.pid, signal.SIGKILL)
    while child.returncode is None:
        try:
            await gone(child)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError


async def gone(child: Child) -> None:
    """Wait until it has ended; its own `wait` goes on until all it wrote was read, which nobody may do any more."""
    while child.returncode is None:  # noqa: ASYNC110  asyncio has no event for that
        await asyncio.sleep(_LOOK_EVERY_S)
    with suppress(TimeoutError):
        async with asyncio.timeout(_READ_S):
            for left in filter(None, (child.stdout, child.stderr)):
                while await left.read(_BLOCK):
                    pass


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)
