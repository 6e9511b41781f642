"""DNS names have one form, and what is none is refused in words."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.routing.domain_names import domain_name, exact_first, is_private


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("shop.example.com", "shop.example.com"),
        ("Shop.Example.COM.", "shop.example.com"),
        ("*.example.com", "*.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("localhost", "localhost"),
    ],
)
def test_a_name_has_one_form(written: str, name: str) -> None:
    assert domain_name(written) == name


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("shop_x.example.com", "is no host name"),
        ("-a.example.com", "is no host name"),
        ("a..example.com", "is no host name"),
        ("", "is no host name"),
        (".", "is no host name"),
        ("*", "is no host name"),
        ("a.*.example.com", "is no host name"),
        ("shop.example.com:443", "is no host name"),
        ("https://shop.example.com", "is no host name"),
        ("a.example.com,b.example.com", "is no host name"),
        ("192.0.2.1", "is an address"),
        ("straße.example", "write its xn-- form"),
        (f"{'a' * 64}.example", "is no host name"),
        (f"{'a.' * 127}example", "is longer than"),
    ],
)
def test_what_is_no_name_is_refused(written: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        domain_name(written)


@given(st.text(max_size=300))
def test_whatever_is_taken_for_a_name_needs_no_quotes_anywhere(written: str) -> None:
    try:
        name = domain_name(written)
    except ValueError:
        return
    assert re.fullmatch(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*", name)
    assert domain_name(name) == name


def test_a_name_that_no_authority_certifies_is_private() -> None:
    names = ("localhost", "a.localhost", "intranet", "db.internal", "a.example.com", "localhost.example.com")
    assert [is_private(name) for name in names] == [True, True, True, True, False, False]


def test_exact_names_come_before_wildcards_and_deeper_ones_before_others() -> None:
    names = ["*.example.com", "example.com", "*.a.example.com", "b.a.example.com"]
    assert sorted(names, key=exact_first) == ["b.a.example.com", "example.com", "*.a.example.com", "*.example.com"]
