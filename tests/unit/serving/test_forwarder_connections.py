"""From which address a program's forwarder reaches it: servers believe what a proxy at 127.0.0.1 says of its client."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
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
    connections = Connections(listeners, program, None)
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
