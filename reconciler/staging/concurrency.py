"""Work that goes on when whoever waits for it has something more urgent to do, and can be waited for again.

One piece of work for each name: other work for that name ends it, as a whole, before it begins.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class DetachedWork(Generic[T]):
    """What is under way, by name. Nothing is kept of what ended while nobody waited: it is asked for anew."""

    def __init__(self) -> None:
        self._under_way: dict[str, tuple[str, asyncio.Task[T]]] = {}
        self._awaited: set[str] = set()

    def is_awaited(self, name: str) -> bool:
        """Whether anybody waits for the work of that name now."""
        return name in self._awaited

    async def result(self, name: str, what: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `work` returns or raises: that under way for the name if it is `what` is wanted, begun now otherwise.

        Being cancelled ends the waiting only.
        """
        known, task = self._under_way.get(name, ("", None))
        if task is None or known != what:
            await self.give_up(name)
            task = asyncio.ensure_future(work())
            self._under_way[name] = (what, task)
            task.add_done_callback(lambda done: self._over(name, done))
        self._awaited.add(name)
        try:
            return await asyncio.shield(task)
        finally:
            self._awaited.discard(name)

    async def give_up(self, name: str) -> None:
        """End the work of that name, if any, and wait until it is ended."""
        _, task = self._under_way.get(name, ("", None))
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    async def give_up_all(self) -> None:
        """End all of it."""
        for name in list(self._under_way):
            await self.give_up(name)

    def _over(self, name: str, done: "asyncio.Task[T]") -> None:
        if self._under_way.get(name, ("", None))[1] is done:
            del self._under_way[name]
        if not done.cancelled():
            done.exception()  # raised where it is waited for, and nowhere else


K = TypeVar("K")


class SingleFlight(Generic[K, T]):
    """What is being worked on right now, by key; nothing is kept once it is done."""

    def __init__(self) -> None:
        self._under_way: dict[K, asyncio.Future[T]] = {}

    def under_way(self, key: K) -> bool:
        return key in self._under_way

    async def result(self, key: K, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` returns or raises; run here unless a task that asked for the same key runs it already."""
        while (others := self._under_way.get(key)) is not None:
            await asyncio.wait((others,))
            if not others.cancelled():
                return others.result()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._under_way[key] = future
        try:
            result = await work()
        except Exception as error:
            future.set_exception(error)
            future.exception()  # it is raised here: nobody else needs to have seen it
            raise
        else:
            future.set_result(result)
            return result
        finally:
            del self._under_way[key]
            future.cancel()


async def in_thread(work: Callable[[Callable[[], bool]], T]) -> T:
    """Run `work(go_on)` in a thread; `go_on()` turns false when the task is cancelled.

    The cancellation is passed on once the thread has ended, so that nothing is cleaned up under it.
    """
    cancelled: asyncio.CancelledError | None = None
    thread = asyncio.ensure_future(asyncio.to_thread(work, lambda: cancelled is None))
    while not thread.done():
        try:
            await asyncio.wait((thread,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        thread.exception()  # whatever it was, nobody waits for it any more
        raise cancelled
    return thread.result()
