"""Messages in, one at a time; each brought to its target within a bounded time, or NotSent that says why.

What may hang (looking up a name, TLS, an answer that drips) is done by a thread of the courier's own, never by those
the rest of the daemon shares. One that outlives its time is left to itself, and until it has ended there is no other.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime

from reconciler.linux.child_processes import running
from reconciler.notifications import message
from reconciler.notifications.digest import Entry
from reconciler.notifications.targets import Command, Target
from reconciler.notifications.transports import NotSent, reason, send

_WITHIN_S = 10.0


class Delivery:
    """Brings messages of `host` to one target, each within so many seconds."""

    def __init__(self, target: Target, host: str, *, within_s: float = _WITHIN_S) -> None:
        self._target = target
        self._host = host
        self._within_s = within_s
        self._working: asyncio.Future[Exception | None] | None = None

    async def send(self, items: Sequence[Entry]) -> None:
        """Try once; raises NotSent, which holds nothing secret."""
        target = self._target
        try:
            if isinstance(target, Command):
                await _run(target, items, self._host, self._within_s)
            else:
                await self._apart(lambda: send(target, items, self._host, self._within_s))
        except TimeoutError:
            raise NotSent(f"no answer within {self._within_s:g} s") from None
        except (OSError, RuntimeError, MemoryError) as error:  # no thread, process or descriptor is left
            raise NotSent(reason(error)) from None

    async def _apart(self, work: Callable[[], None]) -> None:
        async with asyncio.timeout(self._within_s):
            if self._working is not None:
                await asyncio.wait((self._working,))
            self._working = asyncio.wrap_future(_thread(work, f"notify {self._target}"))
            error = await asyncio.shield(self._working)
        if error is not None:
            raise error


def _thread(work: Callable[[], None], name: str) -> "Future[Exception | None]":
    """What work raises, or None; a thread that nothing waits for when the daemon ends."""
    outcome: Future[Exception | None] = Future()
    outcome.set_running_or_notify_cancel()

    def run() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  handed on to who waits
            outcome.set_result(error)
        else:
            outcome.set_result(None)

    threading.Thread(target=run, name=name, daemon=True).start()
    return outcome


async def _run(target: Command, items: Sequence[Entry], host: str, within_s: float) -> None:
    payload = message.encoded(message.as_json(items, host, datetime.now(UTC)))
    piped, quiet = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    try:
        async with running(target.argv, within_s, stdin=piped, stdout=quiet, stderr=quiet) as program:
            await program.communicate(payload)
    except TimeoutError:
        raise NotSent(f"it did not end within {within_s:g} s and was killed") from None
    if program.returncode:
        raise NotSent(f"it ended with {program.returncode}")
