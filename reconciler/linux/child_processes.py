"""Start, bound and end child processes that lead a group of their own: started whole or not at all, ended as a whole.

A child whose output this process stops reading is ended: it could block on a full pipe for ever.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from reconciler.linux import bounded_exec, tree_exec
from reconciler.linux.child import Child

_READ_S = 0.5  # what is left in a pipe is little, but another process may hold its other end
_BLOCK = 65536


def bound_to_us(argv: Sequence[str], *, nice: int = 0) -> tuple[str, ...]:
    """Return the command line under which a command is killed when this process is, even by SIGKILL.

    A command that does not exist then fails like one that exits, with the reason on standard error.
    """
    return (sys.executable, "-I", "-S", bounded_exec.__file__, str(os.getpid()), str(nice), *argv)


def bound_with_descendants(argv: Sequence[str], *, nice: int = 0) -> tuple[str, ...]:
    """Return the command line under which a command ends with all that it started, however detached.

    It ends as one under `bound_to_us` does. Descriptors passed to it are held until the last descendant has ended, and
    not passed on.
    """
    return (sys.executable, "-I", "-S", tree_exec.__file__, str(os.getpid()), str(nice), *argv)


async def start(argv: Sequence[str], grace_s: float = 0.0, **options: Any) -> Child:
    """Start a child as the leader of a session of its own; `options` are those of `subprocess.Popen`.

    A failure or a cancellation on the way ends it. Raises OSError.
    """
    child = Child(tuple(argv), **options)
    try:
        await child.connect()
    except BaseException:
        await end(child, grace_s)
        raise
    return child


@asynccontextmanager
async def running(argv: Sequence[str], within_s: float, **options: Any) -> AsyncIterator[Child]:
    """Run a child for as long as the context lasts, and no longer than that; its whole group ends with it.

    Raises OSError if it cannot be started, TimeoutError if the time is over.
    """
    child = await start(argv, **options)
    try:
        async with asyncio.timeout(within_s):
            yield child
    finally:
        await end(child)


async def end(child: Child, grace_s: float = 0.0) -> None:
    """Kill the whole group and wait for its leader, however often that is cancelled.

    With a grace it gets SIGTERM first; a cancellation ends the grace.
    """
    cancelled = False
    if grace_s > 0:
        _signal(child.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                await _exited(child)
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            cancelled = True
    _signal(child.pid, signal.SIGKILL)
    while child.returncode is None:
        try:
            await _exited(child)
        except asyncio.CancelledError:
            cancelled = True
    child.close()
    if cancelled:
        raise asyncio.CancelledError


async def _exited(child: Child) -> None:
    """Wait until it has ended, and read what it left in its pipes, as no other reader may."""
    await child.wait()
    with suppress(TimeoutError):
        async with asyncio.timeout(_READ_S):
            for left in filter(None, (child.stdout, child.stderr)):
                while await left.read(_BLOCK):
                    pass


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)
