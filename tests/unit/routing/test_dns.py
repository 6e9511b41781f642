"""Where DNS leads a name, as far as a host can know."""

import pytest

from reconciler.routing.dns import astray, is_here


@pytest.mark.parametrize(
    ("addresses", "here"),
    [
        ((), False),
        (("192.0.2.1",), False),
        (("192.0.2.1", "127.0.0.1"), True),
        (("::1",), True),
        (("127.0.1.1",), True),
    ],
)
def test_a_name_leads_here_by_one_address_of_this_host(addresses: tuple[str, ...], here: bool) -> None:
    assert is_here(addresses) == here


def test_a_name_that_leads_elsewhere_is_told_with_its_address() -> None:
    # An address in the place of a name is resolved by no server.
    assert astray("192.0.2.1") == "and DNS leads it to 192.0.2.1, which this host does not have"
    assert astray("127.0.0.1") == ""


@pytest.mark.parametrize("name", ["shop.localhost", "shop.internal", "printer.local"])
def test_a_name_that_no_public_resolver_has_is_not_looked_up(name: str) -> None:
    assert astray(name) == ""


def test_a_name_without_an_address_is_told_so() -> None:
    assert astray("a" * 64 + ".example.com") == "and has no address in DNS"  # a label is 63 letters at most
