"""Who holds ephemeral ports."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from reconciler.linux.host_ports import HostPorts, Protocol

KINDS: dict[Protocol, int] = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}
MANY = 40


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
@pytest.mark.parametrize(("family", "here"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_what_listens_or_is_bound_to_any_port_holds_it(
    opened: ExitStack, protocol: Protocol, family: socket.AddressFamily, here: str
) -> None:
    ports, made = HostPorts(protocol), set()
    listens_all = tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) < (6, 8)
    for number in range(MANY):
        try:
            each = opened.enter_context(socket.socket(family, KINDS[protocol]))
            each.bind((here, 0))
        except OSError:
            if family == socket.AF_INET:
                raise
            pytest.skip("no IPv6 here")
        if protocol == "TCP" and (listens_all or number % 2):
            each.listen()
        made.add(each.getsockname()[1])
    assert made <= ports.held()[os.geteuid()]
    most, there_are = ports.figures()
    assert most >= MANY
    assert len(made) <= there_are < 65_536


def test_what_is_connected_elsewhere_leaves_its_port_to_others(opened: ExitStack) -> None:
    listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
    connected = opened.enter_context(socket.create_connection(listener.getsockname()))
    held = HostPorts("TCP").held()[os.geteuid()]
    assert listener.getsockname()[1] in held
    assert connected.getsockname()[1] not in held


def test_what_sends_by_udp_holds_a_port(opened: ExitStack) -> None:
    sender = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sender.connect(("127.0.0.1", 53))
    assert sender.getsockname()[1] in HostPorts("UDP").held()[os.geteuid()]
