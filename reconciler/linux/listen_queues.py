"""Read how many connections wait at listening sockets to be accepted.

Of all listeners of this network namespace at once, or of one that this process has open; and how many are still being
made.
"""

import os
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.linux.listening_paths import name_of_file
from reconciler.linux.sock_diag import FILE, NAME, QUEUE, SHOW_FILE, SHOW_NAME, SHOW_QUEUE, of_inet, of_unix

# <linux/tcp.h>
_LISTENING = 1 << 10
_BEING_MADE, _SYN_RECV = 1 << 3, 3
_PAIR = struct.Struct("=II")
_WAITS_AT, _INFO_SIZE = 24, 32  # tcpi_unacked and tcpi_sacked, which are those of a listening socket's queue

# What a listener is found by: the host and the port, or the name of a unix socket's file and its number.
Place: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """So many connections wait, of at most `limit`."""

    length: int
    limit: int

    def __add__(self, other: "Queue") -> "Queue":
        return Queue(length=self.length + other.length, limit=self.limit + other.limit)


def of_socket(opened: socket.socket) -> Queue | None:
    """Return the queue of a listening socket of this process, None where the kernel does not tell."""
    with suppress(OSError, struct.error):
        if opened.family == socket.AF_UNIX:
            inode = os.fstat(opened.fileno()).st_ino
            for attributes in of_unix(SHOW_QUEUE, inode=inode):
                return _queue(attributes)
            return None
        told = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
        length, limit = _PAIR.unpack_from(told, _WAITS_AT)
        return Queue(length=length, limit=limit)
    return None


def being_made(opened: socket.socket) -> int | None:
    """Return how many connections to the port of a listening socket are being made, at whichever socket there.

    None where the kernel does not tell, or of a socket without a port. Reads the state of each connection of this
    network namespace: some milliseconds if there are many.
    """
    families = {socket.AF_INET: (socket.AF_INET,), socket.AF_INET6: (socket.AF_INET6, socket.AF_INET)}
    with suppress(OSError, struct.error):
        port = opened.getsockname()[1] if opened.family in families else 0
        states = [
            body[1]
            for family in families.get(opened.family, ())
            for body in of_inet(family, socket.IPPROTO_TCP, _LISTENING | _BEING_MADE, port=port)
        ]
        # The socket itself is among them where the kernel answers.
        return states.count(_SYN_RECV) if len(states) > states.count(_SYN_RECV) else None
    return None


def of_host() -> Mapping[Place, Queue]:
    """Return the queue at each place of this network namespace, of all sockets there; none where that is not told."""
    found: dict[Place, Queue] = {}
    with suppress(OSError, struct.error):
        for family in (socket.AF_INET, socket.AF_INET6):
            for body in of_inet(family, socket.IPPROTO_TCP, _LISTENING):
                length, limit = _PAIR.unpack_from(body, 56)
                size = 4 if family == socket.AF_INET else 16
                place = socket.inet_ntop(family, body[8 : 8 + size]), int.from_bytes(body[4:6], "big")
                _add(found, place, Queue(length=length, limit=limit))
        for attributes in of_unix(SHOW_NAME | SHOW_FILE | SHOW_QUEUE, states=_LISTENING):
            queue, file = _queue(attributes), attributes.get(FILE, b"")
            if queue is not None and len(file) >= 4:
                name = name_of_file(os.fsdecode(attributes.get(NAME, b"").rstrip(b"\0")))
                _add(found, (name, int.from_bytes(file[:4], "little")), queue)
    return found


def place_of_path(path: Path) -> Place | None:
    """Return where the queue of the unix socket at a path is found, None if there is no file."""
    with suppress(OSError):
        return path.name, path.lstat().st_ino & 0xFFFFFFFF
    return None


def _add(found: dict[Place, Queue], place: Place, queue: Queue) -> None:
    found[place] = found[place] + queue if place in found else queue


def _queue(attributes: Mapping[int, bytes]) -> Queue | None:
    told = attributes.get(QUEUE, b"")
    if len(told) < _PAIR.size:
        return None
    length, limit = _PAIR.unpack_from(told)
    return Queue(length=length, limit=limit)
