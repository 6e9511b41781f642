"""Moments that periodic work shares, so that an idle daemon wakes up once for everything that is due.

Each is a multiple of a period on the loop's clock: of two periods, the longer one should be a multiple of the other.
"""

import asyncio
import math
from contextlib import suppress

_TICK_S = 5.0


async def next_tick(every_s: float) -> None:
    """Sleep until the next multiple of a period in seconds."""
    now = asyncio.get_running_loop().time()
    await asyncio.sleep(max(0.0, (math.floor(now / every_s) + 1) * every_s - now))


async def next_tick_or(event: asyncio.Event, every_s: float) -> None:
    """Sleep until the next multiple of a period in seconds, or until an event is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout_at((math.floor(asyncio.get_running_loop().time() / every_s) + 1) * every_s):
            await event.wait()


def until_tick(seconds: float, now: float) -> float:
    """Return the seconds until the first tick that is at least `seconds` after `now` on the loop's clock.

    Short waits have shorter ticks: none becomes longer by more than a tenth.
    """
    tick_s = min(_TICK_S, seconds / 10)
    return math.ceil((now + seconds) / tick_s) * tick_s - now
