"""Open listening sockets once, hand them to every instance, and fetch them back from a running one.

The daemon keeps its own descriptor of each, so that a deploy or a crash leaves connections waiting in the backlog
instead of refusing them.
"""

import asyncio
import contextlib
import ctypes
import errno
import os
import select
import socket
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.linux.listen_queues import Queue, of_socket
from reconciler.linux.listening_paths import is_in_place, listen_at, name_listened_at
from reconciler.linux.process_table import listening_sockets, name_of, pids, sockets_of
from reconciler.linux.shared_listeners import close_shared, forbid_lingering, when_left_alone
from reconciler.linux.socket_filters import ignore_new_connections
from reconciler.planning.address import Address
from reconciler.serving.arrivals import Arrivals, Shutdowns
from reconciler.serving.free_ports import sockaddr, socket_for
from reconciler.serving.holding import Holding

if TYPE_CHECKING:
    from reconciler.serving.relay import Relay

_NOWHERE: frozenset[Address] = frozenset()
_PIDFD_GETFD = 438
_BACKLOG = 2048
_LOOK_S = 0.25  # of processor time


class CannotListen(Exception):
    """An address cannot be opened; the text names the process that holds it where that can be known."""


def _among(addresses: frozenset[Address], known: Collection[Address]) -> frozenset[Address]:
    """Return those that are known: where all are, the very set, so that every look at an app makes no other one."""
    if not known:
        return _NOWHERE
    found = [address for address in addresses if address in known]
    if not found:
        return _NOWHERE
    return addresses if len(found) == len(addresses) else frozenset(found)


def is_reached(address: Address, opened: socket.socket) -> bool:
    """Return whether clients of this address reach this listener: that of a unix socket may be gone, or shut down."""
    return not address.path or (is_in_place(Path(address.path), opened) and not is_shut(opened))


def is_shut(opened: socket.socket) -> bool:
    """Return whether a listening unix socket was shut down: it refuses clients, and no call lets it listen again."""
    hung_up = select.poll()
    hung_up.register(opened, select.POLLRDHUP)
    return bool(hung_up.poll(0))


def accepts(opened: socket.socket) -> bool:
    """Return whether a socket listens: that of a port no longer does once any process that has it shut it down."""
    return bool(opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def listen_beside(opened: socket.socket) -> None:
    """Have the socket of a port listen, behind others of ours that do so there. Raises OSError."""
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # a process of the app may have changed it
    opened.listen(_BACKLOG)


class Listeners:
    """The listening sockets this process holds, by address."""

    def __init__(self) -> None:
        self._sockets: dict[Address, socket.socket] = {}
        self._holding: dict[Address, Holding] = {}
        self._armed: set[Address] = set()
        self._relays: dict[Address, Relay] = {}
        self._arrivals: Arrivals | None = None
        self._shutdowns: Shutdowns | None = None

    def held(self) -> frozenset[Address]:
        """Return the addresses whose sockets this process holds."""
        return frozenset(self._sockets)

    def fd(self, address: Address) -> int:
        """Return the descriptor to hand to an instance. Raises KeyError if the address is not held."""
        return self._sockets[address].fileno()

    def opened_at(self, address: Address) -> socket.socket:
        """Return the socket of an address, which stays owned here. Raises KeyError if it is not held."""
        return self._sockets[address]

    def open(self, address: Address) -> None:
        """Bind and listen, also beside an overlapping listener of this process; raises CannotListen."""
        if not address.path:
            port = address.port  # asked first: there may be ten thousand sockets
            beside = [held for other, held in self._sockets.items() if other.port == port and other.overlaps(address)]
            _refuse_taken(address, frozenset(os.fstat(held.fileno()).st_ino for held in beside))
        self._sockets[address] = _bound(address)

    def fetch(self, address: Address, pidfd: int, pid: int) -> bool:
        """Take a copy of the socket that a process listens on at this address, unless it is held already.

        Return False if that cannot be done.
        """
        if address in self._sockets:
            return True
        fetched = fetched_from(address, pidfd, pid)
        if fetched is not None:
            self._sockets[address] = fetched
        return fetched is not None

    def take(self, address: Address, opened: socket.socket) -> None:
        """Own a socket that listens at this address; one held before is closed."""
        self.close(address)
        self._sockets[address] = opened

    def is_known_to(self, pid: int, address: Address) -> bool | None:
        """Whether a process holds this very socket; None if it is not held here, or that cannot be seen."""
        if address not in self._sockets:
            return None
        found = sockets_of(pid)
        return os.fstat(self.fd(address)).st_ino in found.values() if found else None

    def open_beside(self, address: Address) -> None:
        """Bind while an instance still listens there on its own: both get connections until that one ends.

        Of a unix socket, all that is new is for this one.
        """
        self._sockets[address] = _bound(address)

    def serve_holding_page(self, address: Address, page: str | None) -> None:
        """Answer for the app at this address until `stop_holding_page`."""
        self.disarm(address)  # a descriptor has one reader
        self.stop_relay(address)
        if address not in self._holding:
            self._holding[address] = Holding(self._sockets[address], page)

    def show(self, address: Address, page: str | None) -> None:
        """Answer with that page from now on, if this process answers there."""
        if address in self._holding:
            self._holding[address].show(page)

    def stop_holding_page(self, address: Address) -> None:
        """Stop answering, if this process does."""
        holding = self._holding.pop(address, None)
        if holding is not None:
            holding.close()

    def relay(self, address: Address, successor: Address) -> None:
        """Pass connections at this address on to an overlapping one, until it is closed."""
        from reconciler.serving.relay import Relay

        if address in self._sockets and address not in self._relays:
            self.stop_holding_page(address)
            self.disarm(address)
            self._relays[address] = Relay(self._sockets[address], successor)

    def stop_relay(self, address: Address) -> None:
        """Pass no further connection on, if this process does at this address."""
        relay = self._relays.pop(address, None)
        if relay is not None:
            relay.close()

    def arm(self, address: Address, connected: Callable[[], None]) -> None:
        """Call `connected`, once, when a connection waits at this address."""
        loop, number = asyncio.get_running_loop(), self.fd(address)

        def activate() -> None:
            self.disarm(address)
            connected()

        if address not in self._armed:
            self.stop_relay(address)
            self._armed.add(address)
            loop.add_reader(number, activate)

    def expect(self, address: Address, arrived: Callable[[], None]) -> None:
        """Call `arrived`, once, at the next connection to this address, whichever process accepts it."""
        if self._arrivals is None:
            self._arrivals = Arrivals()
        self._arrivals.expect(self.fd(address), arrived)

    def when_shut(self, address: Address, shut: Callable[[], None]) -> None:
        """Call `shut` when a process that has this listener shuts it down for all of them, twice a second at most."""
        if self._shutdowns is None:
            self._shutdowns = Shutdowns()
        self._shutdowns.expect(self.fd(address), shut)

    def when_left_alone(self, address: Address, told: Callable[[float], None]) -> None:
        """Call `told` with how many seconds no connection is accepted here, as a process of the app has that wait."""
        when_left_alone(self._sockets[address], told)

    def listen_again(self, address: Address) -> bool:
        """Let a port accept connections again that was shut down; return whether that was needed, and done."""
        held = self._sockets.get(address)
        if held is None or accepts(held):
            return False
        with contextlib.suppress(OSError):
            listen_beside(held)
            return True
        return False

    def is_dead(self, address: Address) -> bool:
        """Return whether the unix socket that is held for an address was shut down."""
        held = self._sockets.get(address)
        return held is not None and is_shut(held)

    def queue(self, address: Address) -> Queue | None:
        """Return how many connections wait at this address, None where that is not known."""
        held = self._sockets.get(address)
        return None if held is None else of_socket(held)

    @property
    def is_relaying(self) -> bool:
        """Whether this process passes connections on from any address to another."""
        return bool(self._relays)

    def relayed(self, addresses: frozenset[Address]) -> frozenset[Address]:
        """Return those of these addresses from which this process passes connections on to another."""
        return _among(addresses, self._relays)

    def holding(self, addresses: frozenset[Address]) -> frozenset[Address]:
        """Return those of these addresses at which this process answers for the app."""
        return _among(addresses, self._holding)

    def armed(self, addresses: frozenset[Address]) -> frozenset[Address]:
        """Return those of these addresses at which this process waits for a connection."""
        return _among(addresses, self._armed)

    def disarm(self, address: Address) -> None:
        """Stop waiting for a connection, if this process does."""
        if address in self._armed:
            self._armed.discard(address)
            asyncio.get_running_loop().remove_reader(self.fd(address))

    def close(self, address: Address) -> None:
        """Close this process's copy, if it has one."""
        if address in self._sockets:
            self.stop_holding_page(address)
            self.disarm(address)
        self.stop_relay(address)
        held = self._sockets.pop(address, None)
        if held is not None:
            for each in (self._arrivals, self._shutdowns):
                if each is not None:
                    each.forget(held.fileno())
            close_shared(held)

    def remove(self, address: Address) -> None:
        """Close this process's copy for good: no client finds a unix socket any more, nor a port.

        One that comes to a port while the last copies are closed reaches what listens there a second later.
        """
        held = self._sockets.get(address)
        if held is not None:
            with contextlib.suppress(OSError):
                if not address.path:
                    ignore_new_connections(held)
                elif is_in_place(Path(address.path), held):
                    Path(address.path).unlink()
        self.close(address)

    def close_all(self) -> None:
        """Close every copy of this process; instances keep theirs."""
        for address in list(self._sockets):
            self.close(address)


def fetched_from(address: Address, pidfd: int, pid: int) -> socket.socket | None:
    """Return a copy of the socket that a process listens on at this address, None if that cannot be had."""
    for number in sockets_of(pid):
        fetched = _fetch(pidfd, number)
        if fetched is None:
            continue
        listens = accepts(fetched) and _listens_at(fetched, address)
        if listens and is_reached(address, fetched):
            return fetched
        forbid_lingering(fetched)
        fetched.close()  # of however many, and as a rule not the last
    return None


def is_alone(address: Address, opened: socket.socket) -> bool:
    """Return whether no other socket listens at an address: one that something else has inherited, for example."""
    return _listening_at(address) <= {os.fstat(opened.fileno()).st_ino}


def bound_beside(address: Address) -> socket.socket:
    """Return one more socket that listens at an address with a port. Raises OSError."""
    opened = socket_for(address)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        opened.bind(sockaddr(address))
        opened.listen(_BACKLOG)
    except OSError:
        opened.close()
        raise
    return opened


def holders_at(host: str, port: int) -> dict[int, str]:
    """Return the processes that listen on that port of an address, by pid, as far as this user can see them."""
    inodes = _listening_at(Address(host=host, port=port))
    return {pid: name_of(pid) for pid in pids() if inodes & set(sockets_of(pid).values())} if inodes else {}


def _refuse_taken(address: Address, own: frozenset[int] = frozenset()) -> None:
    """Raise CannotListen if another process listens there, even a second daemon of the same user.

    A bind without SO_REUSEPORT fails then. It also fails beside the sockets whose inodes are `own`, which do not count.
    """
    try:
        with socket_for(address) as probe:
            probe.bind(sockaddr(address))
    except OSError as error:
        if error.errno == errno.EADDRINUSE and own and _listening_at(address) <= own:
            return
        raise CannotListen(_why(address, error, own)) from error


def _bound(address: Address) -> socket.socket:
    if address.path:
        try:
            return listen_at(Path(address.path), _BACKLOG)
        except OSError as error:
            raise CannotListen(f"cannot listen on {address}: {error.strerror or error}") from error
    try:
        return bound_beside(address)
    except OSError as error:
        raise CannotListen(_why(address, error)) from error


def _listening_at(address: Address) -> set[int]:
    """Return the inode of every socket that listens where a listener at this address would be in its way."""
    return {
        each.inode
        for each in listening_sockets()
        if each.port == address.port and address.overlaps(Address(host=each.host, port=each.port))
    }


def _listens_at(opened: socket.socket, address: Address) -> bool:
    if address.path:
        return name_listened_at(opened) == Path(address.path).name
    return opened.family in (socket.AF_INET, socket.AF_INET6) and opened.getsockname()[:2] == sockaddr(address)


def _why(address: Address, error: OSError, own: frozenset[int] = frozenset()) -> str:
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno == errno.EADDRINUSE:
        holder = _holder(_listening_at(address) - own)
        reason = f"the port is in use by {holder}" if holder else "the port is in use"
    return f"cannot listen on {address}: {reason}"


def _holder(inodes: set[int]) -> str | None:
    """Return the process that has one of these sockets, None if that takes too long to find out."""
    until = time.thread_time() + _LOOK_S
    for pid in pids() if inodes else ():
        if time.thread_time() > until:
            return None
        if inodes & set(sockets_of(pid).values()):
            return f"{name_of(pid)} (pid {pid})"
    return None


def _fetch(pidfd: int, number: int) -> socket.socket | None:
    """Copy a descriptor of another process (pidfd_getfd(2), which Python does not wrap)."""
    copied = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, pidfd, number, 0)
    if copied < 0:
        return None
    try:
        return socket.socket(fileno=copied)
    except OSError:
        os.close(copied)
        return None
