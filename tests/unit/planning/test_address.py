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


def test_a_socket_is_an_address_of_its_own_and_no_ports_neighbour() -> None:
    shop, blog = Address(host="/s/shop.sock"), Address(host="/s/blog.sock")
    assert (str(shop), shop.path, shop.spot, at("::1").path, at("::1").spot) == (
        "unix:/s/shop.sock",
        "/s/shop.sock",
        "/s/shop.sock",
        "",
        8001,
    )
    assert shop == Address(host="/s/shop.sock") != blog
    assert shop.overlaps(Address(host="/s/shop.sock"))
    assert not shop.overlaps(blog)
    assert not shop.overlaps(at("0.0.0.0"))
    assert len({shop, blog, at("::1")}) == 3


@pytest.mark.parametrize(("host", "reached"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("localhost", "127.0.0.1")])
def test_an_address_of_every_interface_is_reached_on_this_host(host: str, reached: str) -> None:
    assert at(host).reached_at == reached


@pytest.mark.parametrize("address", [at("127.0.0.1"), at("::1"), at("localhost", 80), at("0.0.0.0", 65535)])
def test_an_address_with_a_port_is_read_from_its_text(address: Address) -> None:
    assert Address.of_port(str(address)) == address


@pytest.mark.parametrize("text", ["", "127.0.0.1", "unix:/s/shop.sock", "a:b"])
def test_no_other_text_is_an_address_with_a_port(text: str) -> None:
    with pytest.raises(ValueError, match="int"):
        Address.of_port(text)
