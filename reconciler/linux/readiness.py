"""Wait for descriptors by epoll(7), or by poll(2) where the kernel lets this user wait for no more of them.

The kernel counts what all processes of a user wait for by epoll, on a host with 24 GiB five millions
(`fs.epoll.max_user_watches`). One process can use that up, and every other of its user is refused: ENOSPC.
"""

import contextlib
import errno
import math
import select
import time

# How often poll is left for epoll again: each of its calls looks at every descriptor.
_AGAIN_S = 10.0


class Readiness:
    """As a `select.epoll`, of level-triggered events only. Not for several threads."""

    def __init__(self) -> None:
        self._events: dict[int, int] = {}
        self._polling: select.poll | None = None
        self._again_at = 0.0
        self._epoll = select.epoll()
        self.poll = self._epoll.poll  # no call more than epoll has

    def register(self, number: int, events: int) -> None:
        """Wait for events of a descriptor. Raises OSError."""
        if self._polling is not None and time.monotonic() >= self._again_at:
            self._try_epoll()
        try:
            (self._epoll if self._polling is None else self._polling).register(number, events)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self._turn_to_poll().register(number, events)
        self._events[number] = events

    def modify(self, number: int, events: int) -> None:
        """Wait for other events of a descriptor. Raises OSError."""
        (self._epoll if self._polling is None else self._polling).modify(number, events)
        self._events[number] = events

    def unregister(self, number: int) -> None:
        """Wait for a descriptor no longer. Raises OSError."""
        self._events.pop(number, None)
        if self._polling is None:
            self._epoll.unregister(number)
        else:
            with contextlib.suppress(KeyError):
                self._polling.unregister(number)

    def fileno(self) -> int:
        """Return the descriptor of its epoll, which is of no use while it polls."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Wait for nothing any more."""
        self._epoll.close()

    def _turn_to_poll(self) -> select.poll:
        polling = self._polling = select.poll()
        for number, events in self._events.items():
            polling.register(number, events)
        self._epoll.close()
        self.poll = self._by_poll
        self._again_at = time.monotonic() + _AGAIN_S
        return polling

    def _try_epoll(self) -> None:
        self._again_at = time.monotonic() + _AGAIN_S
        epoll = select.epoll()
        try:
            for number, events in self._events.items():
                epoll.register(number, events)
        except OSError:
            epoll.close()
            return
        self._polling, self._epoll, self.poll = None, epoll, epoll.poll

    def _by_poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        """Wait as `select.epoll.poll` does: `timeout` in seconds, for ever without or below 0."""
        assert self._polling is not None
        ready = self._polling.poll(None if timeout is None or timeout < 0 else math.ceil(timeout * 1e3))
        for number in [number for number, events in ready if events & select.POLLNVAL]:
            self._events.pop(number, None)  # epoll forgets what is closed
            self._polling.unregister(number)
        ready = [each for each in ready if not each[1] & select.POLLNVAL]
        return ready[:maxevents] if maxevents > 0 else ready
