"""What the table of rules has for the apps of a host."""

import ipaddress

import pytest

from reconciler.host.network_memory import Held
from reconciler.host.network_table import described, table_of
from reconciler.linux.filter_table import Table, changes, checksum
from reconciler.planning.isolation.destinations import place_of
from reconciler.planning.isolation.refused import METADATA, place_at

_APPS = frozenset({place_at("127.0.0.1", 8001), place_at("0.0.0.0", 8002)})


def test_apps_without_a_user_make_no_table() -> None:
    assert not table_of([Held(user=None, places=None, listens=(("127.0.0.1", 8001),))], {}, [], _APPS)
    assert checksum(Table()) == 0


def test_apps_without_a_list_share_their_rules_and_have_what_is_their_own_in_sets() -> None:
    shop = Held(user=70001, places=None, listens=(("127.0.0.1", 8001),), servers=(6379,))
    blog = Held(user=70002, places=None, listens=(("", 8002),))
    one, two = table_of([shop], {}, [], _APPS), table_of([shop, blog], {}, [], _APPS)
    assert (one.fixed, one.chains) == (two.fixed, two.chains)
    assert two.others == {70001, 70002}
    assert two.listeners == {("127.0.0.1", 8001), ("", 8002)}
    assert two.places == {("127.0.0.1", 8001), ("", 8002)}
    assert two.own == {(70001, "127.0.0.1", 8001), (70001, "", 6379), (70002, "", 8002)}
    assert two.beyond == METADATA
    assert described(one) != described(two)
    assert described(two) == described(table_of([blog, shop], {}, [], _APPS))


def test_a_list_makes_rules_of_its_own_and_all_in_it_is_whatever_is_not_refused() -> None:
    places = tuple(map(place_of, ("all", "169.254.169.254", "db.internal:5432")))
    (chain,) = table_of([Held(user=70001, places=places)], {"db.internal": ["10.1.1.1"]}, ["10.0.0.2"], _APPS).chains
    assert set(chain.allowed) == {("", 0), ("169.254.169.254", 0), ("10.1.1.1", 5432), ("10.0.0.2", 53)}
    assert str(place_of("all")) == "all"


def test_one_app_more_among_hundreds_has_no_address_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    held = [Held(user=70_000 + at, places=None, listens=(("127.0.0.1", 8000 + at),)) for at in range(201)]
    apps = frozenset(place for each in held for place in each.listens)
    few, many = table_of(held[:200], {}, [], apps), table_of(held, {}, [], apps)
    assert checksum(few)
    monkeypatch.delattr(ipaddress, "ip_address")
    assert len([*changes("reconciler-a", few, many, "mark", 1, renew=False)]) == 4
