"""Work that several tasks of one loop want at once, done once: one does it, the others wait and share what came of it.

A failure is shared too. When the one that works is cancelled, one of those waiting takes over.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")


class Shared(Generic[K, T]):
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
