"""Share and detach asynchronous work: tasks that outlive their caller, one computation per key, work in threads.

A result or an error reaches every caller that waits for it, and work that is cancelled has ended before its name is
reused.
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from reconciler.linux.daemon_threads import DaemonThreads
from reconciler.linux.garbage import PacedCollections
from reconciler.staging.source.allowance import Allowance, allowing

T = TypeVar("T")


class DetachedWork(Generic[T]):
    """Tasks by name that keep running when their caller is cancelled, and can be awaited again.

    A result that no caller awaits is dropped: the next caller starts the work again.
    """

    def __init__(self) -> None:
        self._running: dict[str, tuple[str, asyncio.Task[T]]] = {}
        self._awaited: set[str] = set()

    def is_awaited(self, name: str) -> bool:
        """Tell whether a caller awaits the work of that name now."""
        return name in self._awaited

    def is_running(self, name: str) -> bool:
        """Tell whether there is work of that name, awaited or not."""
        return name in self._running

    async def result(self, name: str, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what `work` returns, joining the running task of that name if it has the same `key`.

        A task with another key is cancelled first. A cancelled caller leaves the task running.
        """
        running, task = self._running.get(name, ("", None))
        if task is None or running != key:
            await self.cancel(name)
            task = asyncio.ensure_future(work())
            self._running[name] = (key, task)
            task.add_done_callback(lambda done: self._on_done(name, done))
        self._awaited.add(name)
        try:
            return await asyncio.shield(task)
        finally:
            self._awaited.discard(name)

    async def cancel(self, name: str) -> None:
        """Cancel the work of that name, if any, and wait until it has ended."""
        _, task = self._running.get(name, ("", None))
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    async def cancel_all(self) -> None:
        """Cancel all work, and wait until it has ended."""
        for name in list(self._running):
            await self.cancel(name)

    def _on_done(self, name: str, done: "asyncio.Task[T]") -> None:
        if self._running.get(name, ("", None))[1] is done:
            del self._running[name]
        if not done.cancelled():
            done.exception()  # raised where it is awaited, and nowhere else


K = TypeVar("K")


class SingleFlight(Generic[K, T]):
    """Computations by key, of which one runs at a time and all callers get its result; nothing is cached."""

    def __init__(self) -> None:
        self._running: dict[K, tuple[asyncio.Future[T], asyncio.Event]] = {}

    def in_flight(self, key: K) -> bool:
        return key in self._running

    async def result(self, key: K, work: Callable[[], Awaitable[T]]) -> T:
        """Return what `work` returns, or what the work that already runs for the key returns."""
        while (other := self._running.get(key)) is not None:
            computed, ended = other
            await ended.wait()  # hundreds may wait: this takes a third of what `asyncio.wait` does
            _collections.count()  # thousands of callers may go on in one turn of the loop
            if not computed.cancelled():
                return computed.result()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        over = asyncio.Event()
        self._running[key] = future, over
        try:
            result = await work()
        except Exception as error:
            future.set_exception(error)
            future.exception()  # it is raised here: the future may have no other reader
            raise
        else:
            future.set_result(result)
            return result
        finally:
            del self._running[key]
            future.cancel()
            over.set()


# Of staging alone: no other part of the daemon waits for a thread that reads what strangers wrote.
_threads = DaemonThreads("staging", most=32, at_all=512)
_collections = PacedCollections(every=50)


def apart(work: Callable[[], T]) -> asyncio.Future[T]:
    """Run work in a thread of staging; it goes on when the future is cancelled. Raises RuntimeError."""
    return asyncio.wrap_future(_threads.run(lambda: _light_errors(work)))


def _light_errors(work: Callable[[], T]) -> T:
    """Do work; an error, which may be kept for long, and what caused it hold no frame that was left by then."""
    try:
        return work()
    except BaseException as error:
        known, todo = {id(error)}, [error]
        while todo:
            raised = todo.pop()
            traceback.clear_frames(raised.__traceback__)
            for each in (raised.__cause__, raised.__context__):
                if each is not None and id(each) not in known:
                    known.add(id(each))
                    todo.append(each)
        raise


async def in_thread(work: Callable[[Callable[[], bool]], T]) -> T:
    """Run `work(should_continue)` in a thread; `should_continue()` turns false when the task is cancelled.

    The cancellation is raised once the thread has ended, so that nothing is cleaned up while it runs.
    """
    _collections.count()
    cancelled: asyncio.CancelledError | None = None
    thread = apart(lambda: work(lambda: cancelled is None))
    while not thread.done():
        try:
            await asyncio.wait((thread,))
        except asyncio.CancelledError as error:
            cancelled = error
    _collections.count()
    if cancelled is not None:
        thread.exception()  # retrieved, so that asyncio does not warn about it
        raise cancelled
    return thread.result()


async def look_in_thread(work: Callable[[], T], within_s: float = float("inf")) -> T:
    """Run a look at a source in a thread; it ends after that time, and when the task is cancelled.

    Raises StagingError that names what was being read.
    """

    def allowed(should_continue: Callable[[], bool]) -> T:
        with allowing(Allowance(within_s=within_s, should_continue=should_continue)):
            return work()

    return await in_thread(allowed)
