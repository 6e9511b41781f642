"""Looking again and again, for as long as somebody follows."""

import asyncio
from collections.abc import AsyncIterator

_EVERY_S = 1.0
_SIGN_EVERY = 15


async def ticks() -> AsyncIterator[bool]:
    """Once a second; True when it is time for a sign of life, so that what is between keeps the line open."""
    number = 0
    while True:
        yield number % _SIGN_EVERY == _SIGN_EVERY - 1
        number += 1
        await asyncio.sleep(_EVERY_S)
