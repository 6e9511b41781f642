"""Accept connections at a listener that an app shares, on the loop: never waiting, and never in a busy loop."""

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from reconciler.linux.passed_files import AppStream, Aside
from reconciler.linux.shared_listeners import LeftAlone, accepted_at, left_alone_until

_AT_A_TIME = 16
_MOST_THAT_WAIT = 4096
_LAST_S = 0.5


class Accepting:
    """Calls `accepted` with each connection, between `begin` and `stop`."""

    def __init__(self, listener: socket.socket, accepted: Callable[[socket.socket], None]) -> None:
        self._listener = listener
        self._accepted = accepted
        self._aside = Aside()
        self._loop = asyncio.get_running_loop()
        self._begun = self._reading = False
        self._later: asyncio.TimerHandle | None = None
        listener.setblocking(False)

    def begin(self) -> None:
        """Accept from now on, or from when the listener is no longer left alone."""
        if not self._begun:
            self._begun = True
            self._resume()

    def stop(self) -> None:
        """Accept no more."""
        self._begun = False
        self._pause()

    def end(self) -> None:
        """Accept what waits by now, as far as it is no more than a queue of this host holds, and no more."""
        self.stop()
        began = time.monotonic()
        with suppress(LeftAlone):
            for _ in range(_MOST_THAT_WAIT):
                is_late = time.monotonic() - began > _LAST_S
                if is_late and time.monotonic() < left_alone_until(self._listener):
                    return
                if not self._take(accepted_at(self._listener, last=True)):
                    return

    def take_some(self) -> None:
        """Accept a few of what waits; the kernel tells of the others again."""
        try:
            for _ in range(_AT_A_TIME):
                if not self._begun or not self._take(accepted_at(self._listener)):
                    return
        except LeftAlone as error:
            self._pause()
            self._resume_at(error.until)

    def _take(self, connection: socket.socket | None) -> bool:
        if connection is not None:
            is_unix = connection.family == socket.AF_UNIX
            self._accepted(AppStream(self._aside, connection.detach()) if is_unix else connection)
        return connection is not None

    def _resume(self) -> None:
        self._later = None
        until = left_alone_until(self._listener)
        if time.monotonic() < until:
            self._resume_at(until)
        elif not self._reading:
            self._reading = True
            self._loop.add_reader(self._listener.fileno(), self.take_some)

    def _resume_at(self, until: float) -> None:
        self._later = self._loop.call_later(max(0.0, until - time.monotonic()), self._resume)

    def _pause(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._listener.fileno())
