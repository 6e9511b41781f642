"""Notice what happens to listeners that nothing else looks at, at no cost until it does: a connection, or their end."""

import asyncio
import errno
import select
from collections.abc import Callable
from contextlib import suppress

_AGAIN_S = 0.5


class Arrivals:
    """Calls back once for each listener, by its descriptor, when a connection waits there; workers take it."""

    _events, _is_once = select.EPOLLIN, True

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._expected: dict[int, Callable[[], None]] = {}
        self._apart: set[int] = set()  # those that the event loop itself waits for

    def expect(self, number: int, arrived: Callable[[], None]) -> None:
        """Call `arrived`, once, at the next connection to this listener, or at once if one waits."""
        if self._epoll is None:
            self._epoll = select.epoll()
            asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._look)
        known, self._expected[number] = number in self._expected, arrived
        try:
            (self._epoll.modify if known else self._epoll.register)(number, self._events)
        except OSError as error:
            if error.errno == errno.ENOSPC and self._is_once:  # as many as the kernel lets this user wait for
                self._apart.add(number)
                asyncio.get_running_loop().add_reader(number, self._arrive, number)

    def forget(self, number: int) -> None:
        """Expect nothing there any more; to be called before the descriptor is closed."""
        if self._expected.pop(number, None) is None or self._epoll is None:
            return
        if number in self._apart:
            self._apart.discard(number)
            asyncio.get_running_loop().remove_reader(number)
            return
        with suppress(OSError):
            self._epoll.unregister(number)

    def close(self) -> None:
        """Expect nothing anywhere."""
        for number in tuple(self._apart):
            self.forget(number)
        if self._epoll is not None:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None
        self._expected.clear()

    def _look(self) -> None:
        assert self._epoll is not None
        for number, _ in self._epoll.poll(0):
            self._arrive(number)

    def _arrive(self, number: int) -> None:
        arrived = self._expected.get(number)
        if self._is_once:
            self.forget(number)
        elif arrived is not None:
            asyncio.get_running_loop().call_later(_AGAIN_S, self._expect_more, number, arrived)
        if arrived is not None:
            arrived()

    def _expect_more(self, number: int, arrived: Callable[[], None]) -> None:
        if self._epoll is not None and self._expected.get(number) is arrived:
            with suppress(OSError):
                self._epoll.modify(number, self._events)


class Shutdowns(Arrivals):
    """Calls back when a process shuts a listener down, which ends it for all that have it (shutdown(2)).

    Again and again as long as it is, at most twice a second.
    """

    # The kernel tells of a hang-up unasked; of a unix socket that is shut one way, if it is asked.
    _events, _is_once = select.EPOLLONESHOT | select.EPOLLRDHUP, False
