"""A client of websockets (RFC 6455), on whatever connection it is given."""

import base64
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def upgraded(line: socket.socket, host: str = "x") -> Iterator[socket.socket]:
    """A connection that is made a websocket, and closed in an orderly way."""
    with line:
        key = base64.b64encode(os.urandom(16)).decode()
        line.sendall(
            f"GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += line.recv(1)
        assert b" 101 " in head.partition(b"\r\n")[0], head
        yield line
        with suppress(OSError):
            line.sendall(frame(8, struct.pack("!H", 1000)))


def said(line: socket.socket, text: str) -> str:
    """What is answered to a message."""
    line.sendall(frame(1, text.encode()))
    head = _exactly(line, 2)
    assert head[0] == 0x81, head
    return _exactly(line, head[1]).decode()


def frame(opcode: int, payload: bytes) -> bytes:
    """One frame of a client."""
    mask = b"\0\0\0\0"
    return bytes((0x80 | opcode, 0x80 | len(payload))) + mask + payload


def _exactly(line: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        more = line.recv(count - len(found))
        assert more, "the line was cut"
        found += more
    return found
