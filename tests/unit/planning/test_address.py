"""Equal addresses, and addresses that get in each other's way."""

import pytest

from reconciler.planning.address import Address


def at(host: str, port: int = 8001) -> Address:
    return Address(host=host, port=port)


@pytest.mark.parametrize(
    ("one", "other"),
    [("localhost", "127.0.0.1"), ("::1", "0:0:0:0:0:0:0:1"), ("::1", "::0001"), ("FE80::1", "fe80::1")],
)
def test_two_ways_to_write_an_address_are_one_and_each_keeps_its_spelling(one: str, other: str) -> None:
    assert at(one) == at(other)
    assert len({at(one), at(other)}) == 1
    assert str(at("localhost")) == "localhost:8001"


@pytest.mark.parametrize(("one", "other"), [(at("127.0.0.1"), at("127.0.0.2")), (at("::1"), at("::1", 8002))])
def test_other_addresses_differ_and_do_not_overlap(one: Address, other: Address) -> None:
    assert one != other
    assert not one.overlaps(other)


@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::"])
def test_an_address_overlaps_with_every_address_of_the_same_port(everywhere: str) -> None:
    assert at(everywhere).overlaps(at("localhost"))
    assert at("192.0.2.7").overlaps(at(everywhere))
    assert not at(everywhere).overlaps(at("localhost", 8002))
