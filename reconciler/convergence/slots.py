"""A bound on how much of one kind is done at the same time, be it staging or starting."""

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import AsyncIterator, Callable

from reconciler.linux.host_memory import host_memory

_PATIENCE_S = 3.0
_MOST_REMEMBERED = 1000
_ROOM = 4  # a part of the host's memory


class Slots:
    """A number of slots, each given up after `longest_s` by what takes longer.

    What goes on comes before what begins: it is done sooner, and fewer are half done at a time. With `patience_s`,
    the first that waits begins without a slot after so long, where `has_room` says that one more can be done; and who
    had a slot for longer than that waits for all others the next time.
    """

    def __init__(
        self,
        number: int,
        longest_s: float,
        *,
        patience_s: float | None = None,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        self._number = number
        self._patience_s, self._has_room = patience_s, has_room
        self._extra_at = float("-inf")
        self._free = number
        self._going_on: deque[asyncio.Future[None]] = deque()
        self._beginning: deque[asyncio.Future[None]] = deque()
        self._last: deque[asyncio.Future[None]] = deque()
        self._slow: dict[str, None] = {}
        self._longest_s = longest_s

    @classmethod
    def patient(cls, number: int, longest_s: float) -> "Slots":
        """Slots for what may take as long as the author of an app likes: nothing else waits for that for long.

        While the host has memory, one more begins every few seconds.
        """
        return cls(number, longest_s, patience_s=_PATIENCE_S, has_room=_has_memory)

    @functools.cached_property
    def apart(self) -> "Slots":
        """As many others, patient ones: nothing that waits for these waits for those."""
        return Slots.patient(self._number, self._longest_s)

    def times(self, number: int, longest_s: float) -> "Slots":
        """So many times as many others, given up after `longest_s`."""
        return Slots(number * self._number, longest_s)

    def are_taken(self) -> bool:
        """Whether the next has to wait."""
        return self._free <= 0

    @contextlib.asynccontextmanager
    async def slot(self, *, goes_on: bool = False, of: str = "") -> AsyncIterator[Callable[[], None]]:
        """Wait for a slot, and yield what gives it up early, as what takes long does, so that others do not starve.

        What `goes_on` had a slot before, for an earlier part of the same; `of` is an app whose slowness counts.
        """
        in_time = self._going_on if goes_on else self._beginning
        await self._acquire(self._last if of in self._slow else in_time)
        leaving = iter((self._release,))
        now = asyncio.get_running_loop().time
        began = now()

        def leave() -> None:
            for release in leaving:
                release()

        timer = asyncio.get_running_loop().call_later(self._longest_s, leave)
        try:
            yield leave
        finally:
            timer.cancel()
            leave()
            self._remember(of, now() - began)

    def _remember(self, app: str, took_s: float) -> None:
        """Remember whether an app took long."""
        self._slow.pop(app, None)
        if app and self._patience_s is not None and took_s > self._patience_s:
            self._slow[app] = None
            if len(self._slow) > _MOST_REMEMBERED:
                del self._slow[next(iter(self._slow))]

    async def _acquire(self, waiting: deque[asyncio.Future[None]]) -> None:
        if self._free > 0:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        try:
            while not await self._has_come(turn):
                if self._next() is waiting and waiting[0] is turn and self._may_be_more():
                    waiting.popleft()
                    self._free -= 1
                    return
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release()  # it came at the same moment
            else:
                with contextlib.suppress(ValueError):
                    waiting.remove(turn)
            raise

    def _next(self) -> deque[asyncio.Future[None]]:
        """Return those of whom the first is the next, or an empty queue."""
        return self._going_on or self._beginning or self._last

    async def _has_come(self, turn: asyncio.Future[None]) -> bool:
        """Wait for a turn, and no longer than is patient; return whether it has come."""
        if self._patience_s is None:
            await turn
            return True
        return bool((await asyncio.wait((turn,), timeout=self._patience_s))[0])

    def _may_be_more(self) -> bool:
        """Whether one more may begin without a slot; it counts as begun then."""
        now = asyncio.get_running_loop().time()
        if now - self._extra_at < (self._patience_s or 0.0) or not self._has_room():
            return False
        self._extra_at = now
        return True

    def _release(self) -> None:
        """Hand the slot to the next that waits, unless more than the slots are taken."""
        if self._free < 0:
            self._free += 1
            return
        while waiting := self._next():
            turn = waiting.popleft()
            if not turn.done():  # else it was cancelled
                turn.set_result(None)
                return
        self._free += 1


def _has_memory() -> bool:
    most, available = host_memory()
    return most is None or available is None or available * _ROOM >= most
