"""Waiting for what must come true: the only place where a test lets time pass."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.5
_MOST_PATIENT = 12.0


def eventually(check: Callable[[], T], within: float = 30.0) -> T:
    """What `check` returns as soon as that is true; the last thing it said when it never is.

    An AssertionError, an OSError, a database that is not there yet or a ValueError, as of `(one,) = ()`, means "not
    yet". `within` is seconds, and generous: only a failure takes that long. A busy host is given more.
    """
    began = time.monotonic()
    while True:
        said: object = None
        spent_s = _processor_s()
        try:
            found = check()
        except (AssertionError, OSError, ValueError, sqlite3.OperationalError) as error:
            said = error
        else:
            if found:
                return found
            said = repr(found)
        if (waited := time.monotonic() - began) > at_leisure(within):
            raise AssertionError(f"not within {waited:.0f} s: {said}")
        time.sleep(min(max(_PAUSE_S, _processor_s() - spent_s), _LONGEST_PAUSE_S))


def _processor_s() -> float:
    """What this process and its ended children took: checks have half of a core, and what they await the rest."""
    return sum(os.times()[:4])


def patience(load: float, cores: int) -> float:
    """How many times longer a thing takes where `load` processes want to run on `cores`, up to a limit."""
    return min(max(1.0, load / cores), _MOST_PATIENT)


def at_leisure(seconds: float) -> float:
    """So many seconds on a host that has nothing else to do, and more of them on this one as far as it is busy."""
    return seconds * patience(os.getloadavg()[0], os.cpu_count() or 1)


async def soon(check: Callable[[], object], within: float = 30.0) -> None:
    """The same on the loop."""
    async with asyncio.timeout(at_leisure(within)):
        while not check():
            await asyncio.sleep(_PAUSE_S)
