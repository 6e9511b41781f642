"""Waiting for what must come true: the only place where a test lets time pass."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE_S = 0.02


def eventually(check: Callable[[], T], within: float = 30.0) -> T:
    """What `check` returns as soon as that is true; the last thing it said when it never is.

    An AssertionError, an OSError, a database that is not there yet or a ValueError, as of `(one,) = ()`, means "not
    yet". `within` is seconds, and generous: only a failure takes that long.
    """
    deadline = time.monotonic() + within
    while True:
        said: object = None
        try:
            found = check()
        except (AssertionError, OSError, ValueError, sqlite3.OperationalError) as error:
            said = error
        else:
            if found:
                return found
            said = repr(found)
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {said}")
        time.sleep(_PAUSE_S)


async def soon(check: Callable[[], object], within: float = 30.0) -> None:
    """The same on the loop."""
    async with asyncio.timeout(within):
        while not check():
            await asyncio.sleep(_PAUSE_S)
