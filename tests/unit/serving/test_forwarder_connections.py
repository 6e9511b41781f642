"""Which clients a forwarder passes on, and from where: servers believe what a proxy at 127.0.0.1 says of its client."""

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from reconciler.serving.forwarder.connections import Connections
from reconciler.serving.forwarder.endpoints import Descriptor


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def at_port(opened: ExitStack, host: str) -> socket.socket:
    return opened.enter_context(socket.create_server((host, 0)))


def at_path(opened: ExitStack, path: Path) -> socket.socket:
    listener = opened.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(str(path))
    listener.listen()
    return listener


def seen(opened: ExitStack, listeners: list[socket.socket], asked: socket.socket, *, given_up: int = 0) -> str:
    """The address of the client that the program sees when one connects to this of an instance's listeners.

    Before it, the program sees so many connections that were given up at once.
    """
    program = Descriptor()
    opened.callback(program.close)
    connections = Connections(listeners, program, None, lambda: False)
    opened.callback(connections.close)
    connections.begin()
    client = opened.enter_context(socket.socket(asked.family))
    where = asked.getsockname()
    client.connect(("127.0.0.1", where[1]) if where[0] == "0.0.0.0" else where)
    connections.step(10)
    assert program.descriptor is not None
    program.descriptor.settimeout(60)
    for _ in range(given_up):
        with program.descriptor.accept()[0] as abandoned:
            assert abandoned.recv(1) == b""
    line, peer = program.descriptor.accept()
    opened.enter_context(line)
    found = str(peer[0])
    line.sendall(b"x")
    connections.step(10)
    client.settimeout(60)
    assert client.recv(1) == b"x"
    return found


def test_beside_a_socket_of_the_proxys_no_client_of_a_port_comes_from_where_servers_believe_forwarding_headers(
    opened: ExitStack, tmp_path: Path
) -> None:
    path, port = at_path(opened, tmp_path / "s"), at_port(opened, "127.0.0.1")
    assert seen(opened, [path, port], path) == "127.0.0.1"
    assert seen(opened, [path, port], port) == "127.0.0.2"
    everywhere = at_port(opened, "0.0.0.0")
    assert seen(opened, [path, everywhere], everywhere) == "127.0.0.2"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_at_a_port_alone_which_a_proxy_of_this_host_may_dial_its_clients_are_believed(
    opened: ExitStack, host: str
) -> None:
    listener = at_port(opened, host)
    assert seen(opened, [listener], listener, given_up=int(host == "0.0.0.0")) == "127.0.0.1"


def test_a_client_of_another_host_is_not_believed_at_a_port_alone(
    opened: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = at_port(opened, "0.0.0.0")
    monkeypatch.setattr("reconciler.serving.forwarder.connections._is_loopback", lambda _: False)
    assert seen(opened, [listener], listener) == "127.0.0.2"


def is_waiting(program: Descriptor) -> bool:
    """Whether a connection has reached the program that it has yet to accept."""
    assert program.descriptor is not None
    return bool(select.select([program.descriptor], [], [], 0)[0])


def test_who_tries_again_as_a_program_ends_waits_for_the_next_one(opened: ExitStack) -> None:
    program, listener, ends = Descriptor(), at_port(opened, "127.0.0.1"), list[bool]()
    opened.callback(program.close)
    connections = Connections([listener], program, None, lambda: bool(ends))
    opened.callback(connections.close)
    connections.begin()
    client = opened.enter_context(socket.create_connection(listener.getsockname(), 60))
    connections.step(10)
    assert program.descriptor is not None
    program.descriptor.settimeout(60)
    served, _ = program.descriptor.accept()
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    connections.step(10)
    ends.append(True)
    served.close()  # what it was asked is unread: the connection is reset
    opened.enter_context(socket.create_connection(listener.getsockname(), 60))
    connections.step(10)
    assert not is_waiting(program)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    ends.clear()
    for _ in range(10):
        connections.step(1)
    assert is_waiting(program)


def test_a_connection_that_was_made_for_another_client_is_not_used_once_the_program_has_closed_it(
    opened: ExitStack,
) -> None:
    program, listener = Descriptor(), at_port(opened, "127.0.0.1")
    opened.callback(program.close)
    connections = Connections([listener], program, None, lambda: False)
    opened.callback(connections.close)
    connections.begin()
    assert program.descriptor is not None
    program.descriptor.settimeout(60)
    first = opened.enter_context(socket.create_connection(listener.getsockname(), 60))
    with closing(select.epoll()) as ready:  # as when another instance of the app has got the client
        ready.register(listener)
        ready.poll(60)
        listener.setblocking(False)
        taken, _ = listener.accept()
        opened.enter_context(taken)
        connections._accept(listener)
    made, _ = program.descriptor.accept()
    made.close()
    first.close()
    client = opened.enter_context(socket.create_connection(listener.getsockname(), 60))
    connections.step(10)
    served, _ = program.descriptor.accept()
    opened.enter_context(served)
    client.sendall(b"x")
    connections.step(10)
    served.settimeout(60)
    assert served.recv(1) == b"x"
