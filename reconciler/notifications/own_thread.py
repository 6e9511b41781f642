"""A thread of its own for work that may hang, such as a name lookup, TLS, or an answer that never ends.

At most one runs at a time. One that outlives its time is abandoned, and until it has ended no other one starts; nothing
waits for it when the daemon ends.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future


class OwnThread:
    """Runs work apart from the threads that the rest of the daemon shares."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._working: asyncio.Future[Exception | None] | None = None

    async def run(self, work: Callable[[], None], within_s: float) -> None:
        """Return when work is done; raises what it raises, or TimeoutError."""
        async with asyncio.timeout(within_s):
            if self._working is not None:
                await asyncio.wait((self._working,))
            self._working = asyncio.wrap_future(_started(work, self._name))
            error = await asyncio.shield(self._working)
        if error is not None:
            raise error


def _started(work: Callable[[], None], name: str) -> "Future[Exception | None]":
    outcome: Future[Exception | None] = Future()
    outcome.set_running_or_notify_cancel()

    def run() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  raised again where it is awaited
            outcome.set_result(error)
        else:
            outcome.set_result(None)

    threading.Thread(target=run, name=name, daemon=True).start()
    return outcome
