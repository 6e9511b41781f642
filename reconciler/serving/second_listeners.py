"""The second listening socket of an address while a canary is under way, and how connections are divided.

The kernel divides, by a program that stays with the sockets: nothing here has to run for it. A socket that is to close
is emptied first: what waits at it is passed on to the other.
"""

import asyncio
import contextlib
import os
import socket
import time

from reconciler.linux.listen_queues import being_made, of_socket
from reconciler.linux.process_table import sockets_of
from reconciler.linux.shared_listeners import close_shared
from reconciler.planning.address import Address
from reconciler.planning.canary.weights import WHOLE, By
from reconciler.serving.listening_sockets import Listeners, accepts, bound_beside, is_alone, listen_beside

_LOOK_S = 0.05
_EMPTY_LOOKS = 3
_ALONE_S = 5.0
# How long a worker is given to accept what waits; what is left then is passed on.
_DRAIN_S = 5.0
# A handshake that was under way is over by then, where the kernel does not tell of it: the first answer to it is sent
# again after a second.
_QUIET_S, _LONGEST_S = 1.5, 10.0


class CannotDivide(Exception):
    """The kernel does not divide the connections of an address; the text says why."""


class SecondListeners:
    """The second sockets that this process holds, by address; `first` holds the others."""

    def __init__(self, first: Listeners) -> None:
        self._first = first
        self._sockets: dict[Address, socket.socket] = {}

    def held(self, address: Address) -> bool:
        """Return whether there is a second socket at this address."""
        return address in self._sockets

    def fd(self, address: Address) -> int:
        """Return the descriptor to hand to an instance. Raises KeyError."""
        return self._sockets[address].fileno()

    async def open(self, address: Address) -> None:
        """Open a second socket that gets no connection yet. Raises CannotDivide; all is as before then."""
        from reconciler.linux.shared_ports import divide

        if address in self._sockets:
            return
        until = time.monotonic() + _ALONE_S  # the keeper may still have that of the canary before
        while not is_alone(address, self._first.opened_at(address)):
            if time.monotonic() > until:
                raise CannotDivide(f"another process has a socket that listens on {address} as well")
            await asyncio.sleep(_LOOK_S)
        try:
            divide(self._first.opened_at(address), 0)
            self._sockets[address] = bound_beside(address)
        except OSError as error:
            raise CannotDivide(f"the kernel does not divide connections: {error.strerror or error}") from error

    def take(self, address: Address, opened: socket.socket) -> None:
        """Own a second socket that an earlier daemon opened."""
        self.close(address)
        self._sockets[address] = opened

    def weigh(self, address: Address, weight: int, by: By) -> None:
        """Give the second socket so many thousandths of new connections, from now on. Raises CannotDivide.

        If a process of the app has shut it down, the first has all; it listens again if it is to get any.
        """
        from reconciler.linux.shared_ports import divide

        held = self._sockets[address]
        is_shut = not accepts(held)
        if is_shut and not weight:
            return
        try:
            if is_shut:
                listen_beside(held)
            divide(held, weight, by)
        except OSError as error:
            if weight:  # else it gets some until it is closed: what ends it is not held up
                raise CannotDivide(f"the kernel does not divide connections: {error.strerror or error}") from error

    def listen_again(self, address: Address) -> bool:
        """Let the first socket listen again if it was shut down, with the second behind it; return whether it was.

        The kernel numbers them in the order in which they listen. What waits at the second is lost, as it was at the
        first.
        """
        if not self._first.listen_again(address):
            return False
        if address in self._sockets:
            held = self._sockets[address]
            with contextlib.suppress(OSError):  # it was shut down as well
                held.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                listen_beside(held)
        return True

    def is_known_to(self, address: Address, pid: int) -> bool:
        """Return whether a process has the second socket of an address."""
        return address in self._sockets and os.fstat(self.fd(address)).st_ino in sockets_of(pid).values()

    async def emptied(self, address: Address, *, second: bool) -> None:
        """Wait until nothing waits at a socket that gets no more, for as long as its workers need; not for ever."""
        until, empty = time.monotonic() + _DRAIN_S, 0
        while address in self._sockets and empty < _EMPTY_LOOKS and time.monotonic() < until:
            queue = of_socket(self._sockets[address] if second else self._first.opened_at(address))
            empty = empty + 1 if queue is None or not queue.length else 0
            await asyncio.sleep(_LOOK_S)

    async def join(self, address: Address, *, promoted: bool) -> None:
        """Leave one socket, the second if that is `promoted`; pass what comes to the other on to it until it is quiet.

        The one that stays has every connection then. Interrupted anywhere, it can be done again.
        """
        from reconciler.serving.relay import Relay

        if address not in self._sockets:
            return
        self.weigh(address, WHOLE if promoted else 0, "connection")
        if not promoted and not accepts(self._sockets[address]):
            return  # nothing comes to it
        leaving = self._first.opened_at(address) if promoted else self._sockets[address]
        relay = Relay(leaving, address, back=True)
        try:
            began = quiet_since = time.monotonic()
            passed, making = 0, 1
            while making and time.monotonic() < min(quiet_since + _QUIET_S, began + _LONGEST_S):
                await asyncio.sleep(_LOOK_S)
                under_way = being_made(leaving)
                making = 1 if under_way is None else under_way
                if relay.passed != passed:
                    passed, quiet_since = relay.passed, time.monotonic()
        finally:
            relay.close()

    def joined(self, address: Address, *, promoted: bool) -> None:
        """Close the socket that was left; the one that stays is the first from now on.

        The last weight stays in force: another process may have a copy of the socket that was left for a while.
        """
        if promoted and address in self._sockets:
            self._first.take(address, self._sockets.pop(address))
        else:
            self.close(address)

    def close(self, address: Address) -> None:
        """Close this process's copy, if it has one."""
        held = self._sockets.pop(address, None)
        if held is not None:
            close_shared(held)

    def close_all(self) -> None:
        """Close every copy of this process; instances keep theirs."""
        for address in list(self._sockets):
            self.close(address)
