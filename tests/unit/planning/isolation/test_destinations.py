"""Where an app may connect to: what a manifest writes, and which addresses that is."""

import pytest

from reconciler.planning.isolation.destinations import Place, destinations, names_in, place_of, ports_of, trusted


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("db.internal:5432", Place(name="db.internal", port=5432)),
        ("DB.Internal.", Place(name="db.internal")),
        ("localhost", Place(name="localhost")),
        ("443", Place(port=443)),
        ("10.0.0.7", Place(network="10.0.0.7")),
        ("10.0.0.7:80", Place(network="10.0.0.7", port=80)),
        ("10.1.2.3/8", Place(network="10.0.0.0/8")),
        ("10.0.0.0/8:5432", Place(network="10.0.0.0/8", port=5432)),
        ("2001:db8::/32", Place(network="2001:db8::/32")),
        ("2001:db8::1", Place(network="2001:db8::1")),
        ("[2001:db8::1]:443", Place(network="2001:db8::1", port=443)),
        ("[::1]", Place(network="::1")),
        ("::ffff:10.0.0.7", Place(network="10.0.0.7")),
        ("[::ffff:10.0.0.7]:80", Place(network="10.0.0.7", port=80)),
        ("::ffff:10.0.0.0/104", Place(network="10.0.0.0/8")),
        ("80-90.example.com", Place(name="80-90.example.com")),
        ("web-1", Place(name="web-1")),
    ],
)
def test_a_place_is_a_host_a_network_or_a_port(text: str, place: Place) -> None:
    assert place_of(text) == place
    assert place_of(str(place)) == place


@pytest.mark.parametrize(
    "text",
    ["", ":", ":80", "db:", "db:http", "db:0", "db:65536", "0", "70000", "10.0.0.256", "10.0.0.0/33", "a b", "-a",
     "a..b", "http://a/", "*.example.com", "[db]:80", "2001:db8::g", "a" * 300, "٣",
     "\u017ftore", "80-90", "127.1", "0x7f.1", "0x7f000001", "db.1", "fe80::1%eth0", "[fe80::1%eth0]:80"],
)  # fmt: skip
def test_anything_else_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(expected a host|has no port)"):
        place_of(text)


def test_names_are_looked_up_and_others_are_where_they_say() -> None:
    places = [place_of(each) for each in ("db.internal:5432", "443", "10.0.0.0/8")]
    assert names_in(places) == {"db.internal"}
    known = {"db.internal": ["10.9.9.9", "2001:db8::1"], "other": ["10.1.1.1"]}
    assert destinations(places, known) == (
        ("", 443),
        ("10.0.0.0/8", 0),
        ("10.9.9.9", 5432),
        ("2001:db8::1", 5432),
    )
    assert destinations(places[:1], {}) == (), "a name without an address opens nothing"


def test_ports_are_known_only_if_every_place_has_one() -> None:
    assert ports_of([Place(name="db", port=5432), Place(port=443)]) == frozenset((5432, 443))
    assert ports_of([Place(name="db"), Place(port=443)]) is None


def test_a_name_of_others_leads_neither_to_this_host_nor_to_what_is_beside_it() -> None:
    found = [
        "10.0.0.7",
        "127.0.0.1",
        "::1",
        "169.254.169.254",
        "fe80::1%eth0",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::1",
        "::127.0.0.1",
    ]
    assert trusted("evil.example.com", found, []) == {"10.0.0.7"}
    assert trusted("localhost", ["127.0.0.1", "::1"], []) == {"127.0.0.1", "::1"}
    assert trusted("db", ["127.0.0.1"], ["db"]) == {"127.0.0.1"}, "the host's own file names it"
