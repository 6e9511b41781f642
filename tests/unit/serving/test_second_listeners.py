"""Two sockets share an address, whatever a process of the app does to the one that it has inherited."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from reconciler.linux.shared_ports import why_not
from reconciler.planning.address import Address
from reconciler.planning.canary.weights import WHOLE
from reconciler.serving.listening_sockets import Listeners
from reconciler.serving.second_listeners import SecondListeners
from tests.support.ports import a_port

pytestmark = pytest.mark.skipif(bool(why_not()), reason="this kernel divides no connections")


class Held:
    """Both sockets of an address, as a daemon holds them."""

    def __init__(self) -> None:
        self.address = Address(host="127.0.0.1", port=a_port())
        self.first = Listeners()
        self.second = SecondListeners(self.first)
        self.first.open(self.address)
        asyncio.run(self.second.open(self.address))

    def shut(self, number: int) -> None:
        """Do to a socket, of which this is a descriptor, what a process that has it may do."""
        with socket.socket(fileno=socket.dup(number)) as inherited:
            inherited.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
            inherited.shutdown(socket.SHUT_RDWR)

    def reached(self) -> set[str]:
        """Which of both get connections."""
        found = set[str]()
        places = {"first": self.first.fd(self.address)}
        if self.second.held(self.address):
            places["second"] = self.second.fd(self.address)
        with ExitStack() as stack:
            for _ in range(10):
                stack.enter_context(socket.create_connection((self.address.host, self.address.port), 60))
            for name, number in places.items():
                listening = stack.enter_context(socket.socket(fileno=socket.dup(number)))
                listening.setblocking(False)
                try:
                    while True:
                        listening.accept()[0].close()
                        found.add(name)
                except OSError:  # there is no more, or it does not listen
                    pass
        return found


@pytest.fixture
def held() -> Iterator[Held]:
    found = Held()
    yield found
    found.second.close_all()
    found.first.close(found.address)


@pytest.mark.parametrize(("weight", "reached"), [(0, {"first"}), (WHOLE, {"second"})])
def test_a_second_socket_gets_its_part_again_after_it_was_shut_down(held: Held, weight: int, reached: set[str]) -> None:
    held.second.weigh(held.address, WHOLE, "connection")
    assert held.reached() == {"second"}
    held.shut(held.second.fd(held.address))
    held.second.weigh(held.address, weight, "connection")
    assert held.reached() == reached


@pytest.mark.parametrize("promoted", [False, True])
def test_a_canary_ends_though_its_socket_was_shut_down(held: Held, promoted: bool) -> None:
    held.second.weigh(held.address, WHOLE if promoted else 100, "connection")
    held.shut(held.second.fd(held.address))
    asyncio.run(held.second.join(held.address, promoted=promoted))
    held.second.joined(held.address, promoted=promoted)
    assert not held.second.held(held.address)
    assert held.reached() == {"first"}


@pytest.mark.parametrize(("weight", "reached"), [(0, {"first"}), (WHOLE, {"second"})])
def test_a_first_socket_that_was_shut_down_gets_its_own_part_again(held: Held, weight: int, reached: set[str]) -> None:
    held.second.weigh(held.address, weight, "connection")
    held.shut(held.first.fd(held.address))
    assert held.second.listen_again(held.address)
    assert not held.second.listen_again(held.address)
    assert held.reached() == reached
    held.second.weigh(held.address, weight, "connection")
    assert held.reached() == reached
    asyncio.run(held.second.join(held.address, promoted=False))
    held.second.joined(held.address, promoted=False)
    assert held.reached() == {"first"}
