"""Listening sockets that outlive the daemon: opened once, handed to every instance, fetched back from a running one.

The daemon keeps its own descriptor of each, so that a deploy or a crash leaves connections waiting in the backlog
instead of refusing them.
"""

import asyncio
import ctypes
import errno
import os
import socket
from collections.abc import Callable

from reconciler.linux.process_table import listening_sockets, name_of, pids, sockets_of
from reconciler.planning.desired import Address
from reconciler.serving.holding import Holding

_PIDFD_GETFD = 438
_BACKLOG = 2048


class CannotListen(Exception):
    """The address cannot be opened; says who holds it where that can be known."""


class Listeners:
    """The listening sockets this process holds, by address."""

    def __init__(self) -> None:
        self._sockets: dict[Address, socket.socket] = {}
        self._holding: dict[Address, Holding] = {}
        self._attended: set[Address] = set()

    def held(self) -> frozenset[Address]:
        """The addresses whose sockets this process holds."""
        return frozenset(self._sockets)

    def fd(self, address: Address) -> int:
        """The descriptor to hand to an instance; KeyError when the address is not held."""
        return self._sockets[address].fileno()

    def open(self, address: Address) -> None:
        """Bind and listen; raises CannotListen."""
        _refuse_taken(address)
        self._sockets[address] = _bound(address)

    def fetch(self, address: Address, pidfd: int, pid: int) -> bool:
        """Take a copy of the socket that a process listens on at this address; False when that cannot be done.

        Nothing happens when it is held already.
        """
        if address in self._sockets:
            return True
        for number in sockets_of(pid):
            fetched = _fetch(pidfd, number)
            if fetched is None:
                continue
            if fetched.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and _listens_at(fetched, address):
                self._sockets[address] = fetched
                return True
            fetched.close()
        return False

    def take(self, address: Address, opened: socket.socket) -> None:
        """Own a socket that listens at this address; one that was held before is closed."""
        self.close(address)
        self._sockets[address] = opened

    def is_known_to(self, pid: int, address: Address) -> bool | None:
        """Whether a process holds this very socket; None when it is not held here, or that cannot be seen."""
        if address not in self._sockets:
            return None
        found = sockets_of(pid)
        return os.fstat(self.fd(address)).st_ino in found.values() if found else None

    def open_beside(self, address: Address) -> None:
        """Bind while another process of ours still listens there: both get connections until that one ends."""
        self._sockets[address] = _bound(address)

    def serve_holding_page(self, address: Address, page: str | None) -> None:
        """Answer for the app at this address until `step_aside`."""
        self.disarm(address)  # a descriptor has one reader
        if address not in self._holding:
            self._holding[address] = Holding(self._sockets[address], page)

    def show(self, address: Address, page: str | None) -> None:
        """From now on answer with that page, where this process answers; nothing happens elsewhere."""
        if address in self._holding:
            self._holding[address].show(page)

    def stop_holding_page(self, address: Address) -> None:
        """Answer no more; nothing happens when that is so already."""
        holding = self._holding.pop(address, None)
        if holding is not None:
            holding.close()

    def arm(self, address: Address, knocked: Callable[[], None]) -> None:
        """Call `knocked`, once, when a connection waits at this address."""
        loop, number = asyncio.get_running_loop(), self.fd(address)

        def knock() -> None:
            self.disarm(address)
            knocked()

        if address not in self._attended:
            self._attended.add(address)
            loop.add_reader(number, knock)

    def is_holding(self, address: Address) -> bool:
        """True while this process answers for the app at this address."""
        return address in self._holding

    def is_armed(self, address: Address) -> bool:
        """True while this process waits for a knock at this address."""
        return address in self._attended

    def disarm(self, address: Address) -> None:
        """Wait for no knock; nothing happens when nobody does."""
        if address in self._attended:
            self._attended.discard(address)
            asyncio.get_running_loop().remove_reader(self.fd(address))

    def close(self, address: Address) -> None:
        """Close this process's copy; nothing happens when it is not held."""
        if address in self._sockets:
            self.stop_holding_page(address)
            self.disarm(address)
        held = self._sockets.pop(address, None)
        if held is not None:
            held.close()

    def close_all(self) -> None:
        """Close every copy of this process; instances keep theirs."""
        for address in list(self._sockets):
            self.close(address)


def is_free(host: str, port: int) -> bool:
    """True when nothing listens on that port of the host's address now."""
    try:
        _refuse_taken(Address(host=host, port=port))
    except (CannotListen, OSError):
        return False
    return True


def _refuse_taken(address: Address) -> None:
    """A bind without SO_REUSEPORT fails when anybody listens there, even a second daemon of the same user."""
    try:
        with _socket_for(address) as probe:
            probe.bind(_sockaddr(address))
    except OSError as error:
        raise CannotListen(_why(address, error)) from error


def _bound(address: Address) -> socket.socket:
    opened = _socket_for(address)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        opened.bind(_sockaddr(address))
        opened.listen(_BACKLOG)
    except OSError as error:
        opened.close()
        raise CannotListen(_why(address, error)) from error
    return opened


def _socket_for(address: Address) -> socket.socket:
    opened = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return opened


def _sockaddr(address: Address) -> tuple[str, int]:
    host = "127.0.0.1" if address.host == "localhost" else address.host
    return host, address.port


def _listens_at(opened: socket.socket, address: Address) -> bool:
    return opened.family in (socket.AF_INET, socket.AF_INET6) and opened.getsockname()[:2] == _sockaddr(address)


def _why(address: Address, error: OSError) -> str:
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno == errno.EADDRINUSE:
        holder = _holder(address.port)
        reason = f"the port is in use by {holder}" if holder else "the port is in use"
    return f"cannot listen on {address}: {reason}"


def _holder(port: int) -> str | None:
    inodes = {each.inode for each in listening_sockets() if each.port == port}
    for pid in pids() if inodes else ():
        if inodes & set(sockets_of(pid).values()):
            return f"{name_of(pid)} (pid {pid})"
    return None


def _fetch(pidfd: int, number: int) -> socket.socket | None:
    """pidfd_getfd(2), which Python does not wrap."""
    copied = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, pidfd, number, 0)
    if copied < 0:
        return None
    try:
        return socket.socket(fileno=copied)
    except OSError:
        os.close(copied)
        return None
