"""A bound on how much of one kind is done at the same time, be it staging or starting."""

import asyncio
import contextlib
import functools
import os
from collections import deque
from collections.abc import AsyncIterator, Callable

from reconciler.linux.host_memory import host_memory

_PATIENCE_S = 3.0
_MOST_REMEMBERED = 1000
_ROOM = 4  # a part of the host's memory
_BUSY = 2  # times as much to do as there are processors
_TURNS = 4


class Slots:
    """A number of slots, each given up after `longest_s` by what takes longer.

    What goes on comes before what begins: it is done sooner, and fewer are half done at a time. With `patience_s`,
    the first that waits begins without a slot after so long, where `has_room` for so many more says that it may; and
    who had a slot for longer than that comes after others the next time, but for each fourth turn.
    """

    def __init__(
        self,
        number: int,
        longest_s: float,
        *,
        patience_s: float | None = None,
        has_room: Callable[[int], bool] = lambda _: True,
    ) -> None:
        self._number = number
        self._patience_s, self._has_room = patience_s, has_room
        self._extra_at = float("-inf")
        self._free = number
        self._going_on: deque[asyncio.Future[None]] = deque()
        self._beginning: deque[asyncio.Future[None]] = deque()
        self._last: deque[asyncio.Future[None]] = deque()
        self._slow: dict[str, None] = {}
        self._turns = 1
        self._longest_s = longest_s

    @classmethod
    def patient(cls, number: int, longest_s: float) -> "Slots":
        """Slots for what may take as long as the author of an app likes: nothing else waits for that for long.

        While the host has memory, one more begins every few seconds; beyond twice as many, while its processors are
        not busy.
        """
        return cls(number, longest_s, patience_s=_PATIENCE_S, has_room=lambda more: _has_room(more, number))

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
        is_done = False
        try:
            yield leave
            is_done = True
        finally:
            timer.cancel()
            leave()
            self._remember(of, now() - began, is_done=is_done)

    def _remember(self, app: str, took_s: float, *, is_done: bool) -> None:
        """Remember whether an app took long; one that was ended earlier may be as slow as it was."""
        is_slow = self._patience_s is not None and took_s > self._patience_s
        if is_slow or is_done:
            self._slow.pop(app, None)
        if is_slow and app:
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
        if self._last and self._turns % _TURNS == 0:
            return self._last
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
        if now - self._extra_at < (self._patience_s or 0.0) or not self._has_room(1 - self._free):
            return False
        self._extra_at = now
        self._turns += 1
        return True

    def _release(self) -> None:
        """Hand the slot to the next that waits, unless more than the slots are taken."""
        if self._free < 0:
            self._free += 1
            return
        while waiting := self._next():
            self._turns += 1
            turn = waiting.popleft()
            if not turn.done():  # else it was cancelled
                turn.set_result(None)
                return
        self._free += 1


def _has_room(more: int, number: int) -> bool:
    """Whether the host can do so many more than `number` at a time."""
    most, available = host_memory()
    has_memory = most is None or available is None or available * _ROOM >= most
    return has_memory and (more <= number or os.getloadavg()[0] < _BUSY * (os.cpu_count() or 1))
