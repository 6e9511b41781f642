"""Ports from the kernel that stay ours: bound, never listening, so that only those who are told of one can open it."""

import socket

_reserved: list[socket.socket] = []


def a_port() -> int:
    """A port that nobody else is given while this process lives."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    _reserved.append(held)
    port: int = held.getsockname()[1]
    return port
