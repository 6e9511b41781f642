"""Read who holds the ephemeral ports of this network namespace: ip(7), ip_local_port_range."""

import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Literal, TypeAlias

from reconciler.linux.proc_files import proc_bytes
from reconciler.linux.sock_diag import EVERY_STATE, of_inet

Protocol: TypeAlias = Literal["TCP", "UDP"]

# What a table says of all sockets of a protocol, which are more than those that hold a port.
_COUNTED: Mapping[Protocol, tuple[tuple[str, bytes, bytes], ...]] = {
    "TCP": (("sockstat", b"TCP:", b"alloc"),),
    "UDP": (("sockstat", b"UDP:", b"inuse"), ("sockstat6", b"UDP6:", b"inuse")),
}
# Of UDP, all keep a port from others. Of TCP, what listens, or is bound and nothing else (<net/tcp_states.h>, as of
# Linux 6.8), does; so does what was bound before it connected, which the kernel does not tell from all else that does.
_HOLDING: Mapping[Protocol, tuple[int, int]] = {
    "TCP": (socket.IPPROTO_TCP, 1 << 10 | 1 << 13),
    "UDP": (socket.IPPROTO_UDP, EVERY_STATE),
}
_PORT, _USER = struct.Struct(">4xH"), struct.Struct("=64xI")  # of struct inet_diag_msg


class HostPorts:
    """The ephemeral ports of a protocol; each has its own."""

    def __init__(self, protocol: Protocol) -> None:
        self.protocol: Protocol = protocol

    def figures(self) -> tuple[int, int]:
        """Return how many are held at most, which costs nothing to read, and how many there are. Raises OSError."""
        first, last = ephemeral_range()
        return sum(_figure(*place) for place in _COUNTED[self.protocol]), last - first + 1

    def held(self) -> dict[int, set[int]]:
        """Return the ports that each user holds, none where the kernel does not tell. Blocks, for milliseconds."""
        found: dict[int, set[int]] = {}
        with suppress(OSError, struct.error):
            first, last = ephemeral_range()
            for family in (socket.AF_INET, socket.AF_INET6):
                for told in of_inet(family, *_HOLDING[self.protocol]):
                    (port,), (user,) = _PORT.unpack_from(told), _USER.unpack_from(told)
                    if first <= port <= last:
                        found.setdefault(user, set()).add(port)
        return found


def ephemeral_range() -> tuple[int, int]:
    """Return the first and the last port that the kernel gives to those who ask for any. Raises OSError."""
    first, last = proc_bytes("/proc/sys/net/ipv4/ip_local_port_range").split()
    return int(first), int(last)


def _figure(table: str, protocol: bytes, name: bytes) -> int:
    """Return a figure of a table, 0 where it has none, as without IPv6."""
    with suppress(FileNotFoundError):
        for line in proc_bytes(f"/proc/net/{table}").splitlines():
            words = line.split()
            if words[:1] == [protocol] and name in words:
                return int(words[words.index(name) + 1])
    return 0
