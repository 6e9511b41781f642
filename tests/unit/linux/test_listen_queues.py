"""Connections that wait are counted, of one listener and of all, at a port and at a path."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from reconciler.linux.listen_queues import Place, Queue, being_made, of_host, of_socket, place_of_path
from reconciler.linux.listening_paths import listen_at
from tests.support.eventually import eventually

BACKLOG = 7


@pytest.fixture(params=["127.0.0.1", "::1", "path"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, Place]]:
    """A listener, and where its queue is found."""
    host = str(request.param)
    if host == "path":
        with closing(listen_at(tmp_path / "shop.sock", BACKLOG)) as opened:
            place = place_of_path(tmp_path / "shop.sock")
            assert place is not None
            yield opened, place
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as opened:
        try:
            opened.bind((host, 0))
        except OSError:
            pytest.skip(f"{host} is no address of this host")
        opened.listen(BACKLOG)
        yield opened, (host, opened.getsockname()[1])


def test_what_waits_is_counted_until_it_is_accepted(listener: tuple[socket.socket, Place], tmp_path: Path) -> None:
    opened, place = listener
    assert of_socket(opened) == of_host()[place] == Queue(length=0, limit=BACKLOG)
    with ExitStack() as clients:
        for _ in range(3):
            client = clients.enter_context(socket.socket(opened.family))
            client.connect(str(tmp_path / "shop.sock") if opened.family == socket.AF_UNIX else opened.getsockname()[:2])
        assert of_socket(opened) == of_host()[place] == Queue(length=3, limit=BACKLOG)
        opened.accept()[0].close()
        assert of_socket(opened) == of_host()[place] == Queue(length=2, limit=BACKLOG)


def test_two_listeners_at_one_port_have_one_queue() -> None:
    with socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            each.bind(("127.0.0.1", 0) if each is one else one.getsockname())
            each.listen(BACKLOG)
        with socket.create_connection(one.getsockname()):
            assert of_host()[one.getsockname()] == Queue(length=1, limit=2 * BACKLOG)


def test_a_socket_of_another_kind_and_a_path_without_a_file_have_none(tmp_path: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as opened:
        assert of_socket(opened) is None
    assert place_of_path(tmp_path / "shop.sock") is None


def test_connections_that_are_being_made_are_counted_until_they_are_there(
    listener: tuple[socket.socket, Place],
) -> None:
    opened, _ = listener
    if opened.family == socket.AF_UNIX:
        assert being_made(opened) is None
        return
    assert being_made(opened) == 0
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 30)  # not there until something is sent
    with socket.create_connection(opened.getsockname()[:2]) as client:
        assert being_made(opened) == 1
        client.sendall(b"GET")
        eventually(lambda: being_made(opened) == 0)
        assert of_socket(opened) == Queue(length=1, limit=BACKLOG)


def test_connections_from_ipv4_to_a_listener_of_both_are_counted() -> None:
    try:
        opened = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    except (OSError, ValueError):
        pytest.skip("this host cannot")
    with opened:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 30)
        with socket.create_connection(("127.0.0.1", opened.getsockname()[1])):
            assert being_made(opened) == 1
