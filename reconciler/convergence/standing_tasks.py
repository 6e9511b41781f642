"""The tasks that last as long as the daemon: an internal error in one of them ends neither it nor any other.

It is passed to the loop's exception handler, which tells it, and that one task begins again after a back-off.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from reconciler.convergence.backoff import Backoff


class Interrupted(Exception):
    """A task that nothing cancelled was told so by what it waited for."""


@contextmanager
def survived(what: str) -> Iterator[None]:
    """Tell of an exception as of that of a task, and go on; `what` says what is done, as "adopt blog"."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  whatever it is, it must not end the others
        context = {"message": f"cannot {what}", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)


class StandingTasks:
    """Keeps every task inside `tasks`; each is made by a function that can be called again."""

    def __init__(self, tasks: asyncio.TaskGroup, *, backoff: Backoff, noise: random.Random) -> None:
        self._tasks = tasks
        self._backoff = backoff
        self._noise = noise

    def keep(self, name: str, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Run a task until it returns or is cancelled; `name` says what it does, as "rotate logs"."""
        return self._tasks.create_task(self._kept(name, run), name=name)

    async def _kept(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        loop, failures = asyncio.get_running_loop(), 0
        while True:
            began = loop.time()
            try:
                await run()
            except asyncio.CancelledError as error:
                if _is_cancelled():
                    raise
                failure: Exception = Interrupted(f"cancelled by what it waited for: {error}")
            except Exception as error:  # noqa: BLE001  whatever it is, it must not end the others
                failure = error
            else:
                return
            lasted = loop.time() - began > self._backoff.cap_s
            failures = 1 if lasted else failures + 1
            delay_s = self._backoff.delay_s(failures, self._noise.random())
            loop.call_exception_handler(
                {
                    "message": f"cannot {name}",
                    "exception": failure,
                    "retried_in_s": delay_s,
                }
            )
            await asyncio.sleep(delay_s)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
