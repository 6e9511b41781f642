"""A file whose last close waits: a connection with bytes that its other end does not read (SO_LINGER)."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from reconciler.linux import passed_files, unix_sockets

_LINGERS_S = 60


@contextmanager
def lingering() -> Iterator[socket.socket]:
    """Such a connection; once the context is left, its close waits no more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = socket.create_connection(server.getsockname())
        reader, _ = server.accept()
        sender.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                sender.send(bytes(1 << 16))
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, _LINGERS_S))
        try:
            yield sender
        finally:
            reader.close()  # with bytes that it has not read: a reset
            sender.close()


def give_away(line: socket.socket, text: bytes, given: socket.socket, flags: int = 0) -> None:
    """Send the only reference to a file."""
    socket.send_fds(line, [text], [given.fileno()], flags)
    given.close()


def accept_files(opened: socket.socket) -> None:
    """Have the kernel pass files to a socket as before Linux 6.16."""
    with suppress(OSError):
        opened.setsockopt(socket.SOL_SOCKET, unix_sockets._SO_PASSRIGHTS, 1)


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that refuses no files, as before Linux 6.16."""
    monkeypatch.setattr(passed_files, "refuse_files", accept_files)
