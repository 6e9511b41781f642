"""Ask the kernel about the sockets of this network namespace: sock_diag(7), for which no right is needed."""

import socket
import struct
from collections.abc import Iterator

# <linux/sock_diag.h>, <linux/inet_diag.h>, <linux/unix_diag.h>
SHOW_NAME, SHOW_FILE, SHOW_QUEUE = 1, 2, 16
NAME, FILE, QUEUE = 0, 1, 4
EVERY_STATE = 0xFFFFFFFF

_ONE, _EVERY = 0x1, 0x301
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20
_ERROR, _DONE = 2, 3
_UNIX_FIXED = 16
_NO_COOKIE = 0xFFFFFFFF
_HEADER, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=HH")
_LONGEST = 1 << 16
_ANSWER_S = 1.0


def of_inet(family: int, protocol: int, states: int, *, port: int = 0) -> Iterator[bytes]:
    """Yield what the kernel tells of each socket of a protocol in one of these states; at a port, unless that is 0.

    Each begins with a `struct inet_diag_msg`. Raises OSError.
    """
    yield from _asked(struct.pack("=BBBxI", family, protocol, 0, states) + struct.pack(">H46x", port), _EVERY)


def of_unix(show: int, *, inode: int = 0, states: int = EVERY_STATE) -> Iterator[dict[int, bytes]]:
    """Yield the attributes of each unix socket in one of these states, or of the one of that inode. Raises OSError."""
    body = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, states, inode, show, _NO_COOKIE, _NO_COOKIE)
    for found in _asked(body, _ONE if inode else _EVERY):
        yield _attributes(found, _UNIX_FIXED)


def _asked(body: bytes, flags: int) -> Iterator[bytes]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as line:
        line.settimeout(_ANSWER_S)
        line.sendto(_HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, flags, 1, 0) + body, (0, 0))
        while True:
            answer, at = line.recv(_LONGEST), 0
            while at + _HEADER.size <= len(answer):
                length, kind, *_ = _HEADER.unpack_from(answer, at)
                if kind in (_ERROR, _DONE) or length < _HEADER.size:
                    return
                yield answer[at + _HEADER.size : at + length]
                at += (length + 3) & ~3
            if flags == _ONE:
                return


def _attributes(body: bytes, at: int) -> dict[int, bytes]:
    found = {}
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        found[kind] = body[at + _ATTRIBUTE.size : at + length]
        at += max(_ATTRIBUTE.size, (length + 3) & ~3)
    return found
