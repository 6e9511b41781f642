"""The kernel divides the connections of one address between two sockets, by weights that are exact."""

import math
import select
import socket
from collections.abc import Iterator

import pytest

from reconciler.linux.client_ports import connected_from
from reconciler.linux.shared_ports import TO_FIRST, TO_SECOND, WHOLE, By, divide
from tests.contract.machine import on_the_loop


def listener(family: socket.AddressFamily, host: str, port: int, weight: int | None = None) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    opened.bind((host, port))
    if weight is not None:
        divide(opened, weight)
    opened.listen(2048)
    return opened


class Pair:
    """Two sockets at one address; connections are accepted and counted by hand."""

    def __init__(self, family: socket.AddressFamily, host: str) -> None:
        self.family = family
        self.first = listener(family, host, 0)
        self.address = self.first.getsockname()[:2]
        divide(self.first, 0)
        self.second = listener(family, *self.address)

    def connect(self, number: int, source: str = "") -> list[int]:
        """Return how many of so many new connections each socket got."""
        counts = [0, 0]
        for _ in range(number):
            with socket.socket(self.family, socket.SOCK_STREAM) as client:
                if source:
                    client.bind((source, 0))
                client.connect(self.address)
                ready, _, _ = select.select((self.first, self.second), (), (), 10)
                for each in ready:
                    connection, _ = each.accept()
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # no TIME_WAIT
                    connection.close()
                    counts[each is self.second] += 1
        return counts

    def close(self) -> None:
        self.first.close()
        self.second.close()


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=("ipv4", "ipv6"))
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    try:
        made = Pair(*request.param)
    except OSError as error:
        pytest.skip(f"this host cannot: {error}")
    yield made
    made.close()


def bounds(number: int, weight: int) -> tuple[float, float]:
    """Return between what so many draws are in 99.9999 of 100 cases."""
    share = weight / WHOLE
    spread = 6.0 * math.sqrt(number * share * (1 - share))
    return number * share - spread, number * share + spread


def test_a_second_socket_gets_nothing_before_it_has_a_weight(pair: Pair) -> None:
    assert pair.connect(100) == [100, 0]


@pytest.mark.parametrize("weight", [50, 500])
def test_each_socket_gets_its_part_of_the_connections(pair: Pair, weight: int) -> None:
    divide(pair.second, weight)
    low, high = bounds(600, weight)
    assert low <= pair.connect(600)[1] <= high


def test_a_weight_takes_effect_at_once_and_the_whole_is_the_whole(pair: Pair) -> None:
    divide(pair.first, WHOLE)
    assert pair.connect(100) == [0, 100]
    divide(pair.first, 0)
    assert pair.connect(100) == [100, 0]


def test_all_goes_on_at_the_one_that_is_left_whichever_is_closed(pair: Pair) -> None:
    divide(pair.first, WHOLE)
    pair.first.close()
    with socket.create_connection(pair.address):
        assert select.select((pair.second,), (), (), 10)[0]
        pair.second.accept()[0].close()


def test_the_remaining_socket_can_be_divided_again(pair: Pair) -> None:
    divide(pair.first, WHOLE)
    pair.first.close()
    divide(pair.second, 0)
    pair.first = pair.second
    pair.second = listener(pair.family, *pair.address)
    assert pair.connect(50) == [50, 0]
    divide(pair.second, WHOLE)
    assert pair.connect(50) == [0, 50]


@pytest.mark.parametrize("by", ["client"])
def test_a_client_comes_to_the_same_release_each_time(by: By) -> None:
    pair = Pair(socket.AF_INET, "127.0.0.1")
    divide(pair.first, 500, by)
    counts = [0, 0]
    for client in range(1, 65):
        found = pair.connect(3, f"127.0.3.{client}")
        assert 0 in found
        counts[found[0] == 0] += 1
    pair.close()
    assert min(counts) > 10


def test_an_ipv6_client_comes_to_the_same_release_each_time() -> None:
    try:
        pair = Pair(socket.AF_INET6, "::1")
    except OSError as error:
        pytest.skip(f"this host cannot: {error}")
    divide(pair.first, 500, "client")
    assert 0 in pair.connect(20)
    pair.close()


def test_a_client_of_ipv4_comes_to_the_same_release_of_a_listener_of_both_each_time() -> None:
    try:
        pair = Pair(socket.AF_INET6, "::")
    except OSError as error:
        pytest.skip(f"this host cannot: {error}")
    divide(pair.first, 500, "client")
    pair.address, pair.family = ("127.0.0.1", pair.address[1]), socket.AF_INET
    counts = [0, 0]
    for client in range(1, 65):
        found = pair.connect(3, f"127.0.3.{client}")
        assert 0 in found
        counts[found[0] == 0] += 1
    pair.close()
    assert min(counts) > 10


@pytest.mark.parametrize("by", ["connection", "client"])
@on_the_loop
async def test_a_client_on_this_host_reaches_the_socket_that_it_chooses_whatever_the_weights(
    pair: Pair, by: By
) -> None:
    for weight in (1, WHOLE - 1):
        divide(pair.first, weight, by)
        for ports, listening in ((TO_FIRST, pair.first), (TO_SECOND, pair.second)):
            for _ in range(20):
                with await connected_from(ports, *pair.address) as client:
                    assert select.select((listening,), (), (), 10)[0]
                    connection, _ = listening.accept()
                    assert client.getsockname()[1] in ports
                    connection.close()


def test_a_client_with_such_a_port_from_elsewhere_is_given_its_part_as_any(pair: Pair) -> None:
    if pair.family == socket.AF_INET6:
        pytest.skip("this host has one address of itself")
    divide(pair.first, WHOLE - 1)
    counts = [0, 0]
    for port in TO_FIRST:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind(("127.0.9.9", port))
            client.connect(pair.address)
            ready, _, _ = select.select((pair.first, pair.second), (), (), 10)
            for each in ready:
                each.accept()[0].close()
                counts[each is pair.second] += 1
    assert counts[1] > counts[0]


@pytest.mark.parametrize("weight", [0, WHOLE])
@on_the_loop
async def test_no_client_chooses_a_socket_that_gets_none(pair: Pair, weight: int) -> None:
    divide(pair.first, weight)
    for ports in (TO_FIRST, TO_SECOND):
        with await connected_from(ports, *pair.address):
            listening = pair.second if weight else pair.first
            assert select.select((listening,), (), (), 10)[0]
            listening.accept()[0].close()


def test_a_socket_that_does_not_share_its_port_cannot_be_divided() -> None:
    with socket.create_server(("127.0.0.1", 0)) as alone, pytest.raises(OSError, match="Invalid argument"):
        divide(alone, 50)


@pytest.mark.nightly
@pytest.mark.parametrize("weight", [10, 50, 250, 500])
def test_ten_thousand_connections_are_within_the_bounds_of_chance(weight: int) -> None:
    pair = Pair(socket.AF_INET, "127.0.0.1")
    divide(pair.first, weight)
    mine = pair.connect(10_000)[1]
    pair.close()
    share = weight / WHOLE
    deviation = math.sqrt(10_000 * share * (1 - share))
    print(f"asked {share:.1%}, got {mine / 100:.2f}%, within {3.29 * deviation / 100:.2f}% in 99.9 of 100 cases")
    assert abs(mine - 10_000 * share) <= 5 * deviation, "99.9% would fail by chance in one night of 250"
