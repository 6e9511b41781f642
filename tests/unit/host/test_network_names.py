"""The addresses of names in lists: what those who answer for a name can do by that."""

import asyncio
from collections.abc import Callable, Iterable
from threading import Event

import pytest

from reconciler.host import network_names
from reconciler.host.network_names import Names
from reconciler.linux.own_addresses import is_own


def names(resolve: Callable[[str], Iterable[str]], told: list[str], **known: list[str]) -> Names:
    return Names(resolve, told.append, {name.replace("_", "."): found for name, found in known.items()})


def test_an_answer_of_thousands_counts_for_a_few_and_so_do_many_answers() -> None:
    numbers = iter(range(1000))

    def resolve(_: str) -> list[str]:
        many = next(numbers)
        return [f"10.{many}.{each // 250}.{each % 250}" for each in range(4000)]

    async def looked_up() -> list[int]:
        found, counts = names(resolve, []), []
        for _ in range(9):
            await found.look_up([["db.example.com"]])
            counts.append(len(found.addresses()["db.example.com"]))
        return counts

    assert asyncio.run(looked_up()) == [64, 128, 192, *[256] * 6]


def test_names_that_do_not_answer_keep_no_others_from_being_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_names, "WITHIN_S", 2.0)
    monkeypatch.setattr(network_names, "_LATE_WITHIN_S", 0.01)
    answers = Event()

    def resolve(name: str) -> list[str]:
        if name.startswith("late"):
            answers.wait(30)
        return ["10.0.0.7"]

    async def looked_up() -> list[dict[str, list[str]]]:
        found, said = names(resolve, []), []
        late = [f"late{each}.example.com" for each in range(12)]
        await found.look_up([late])
        for _ in range(2):
            await found.look_up([late, ["shop.example.com"]])
            said.append(found.addresses())
        answers.set()
        await found.look_up([])
        return said

    try:
        said = asyncio.run(looked_up())
    finally:
        answers.set()
    assert said[0] == {"shop.example.com": ["10.0.0.7"]}


def test_a_name_that_leads_to_this_host_does_not_count_and_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_names, "is_own", lambda address: address == "10.0.0.5")
    monkeypatch.setattr(network_names, "named_here", lambda: frozenset({"here"}))
    told: list[str] = []

    async def looked_up() -> dict[str, list[str]]:
        found = names(lambda _: ["10.0.0.5", "10.0.0.7", "127.0.0.1"], told)
        for _ in range(2):
            await found.look_up([["evil.test", "here"]])
        return found.addresses()

    assert asyncio.run(looked_up()) == {
        "evil.test": ["10.0.0.7"],
        "here": ["10.0.0.5", "10.0.0.7", "127.0.0.1"],
    }
    assert told == [
        "evil.test in network.connect leads to 10.0.0.5, 127.0.0.1, which counts only for names in /etc/hosts"
    ]


def test_a_name_does_not_lead_to_the_metadata_of_a_cloud() -> None:
    async def looked_up() -> dict[str, list[str]]:
        found = names(lambda _: ["10.0.0.7", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"], [])
        await found.look_up([["evil.test"]])
        return found.addresses()

    assert asyncio.run(looked_up()) == {"evil.test": ["10.0.0.7"]}


def test_a_name_keeps_the_addresses_that_were_known_until_it_is_looked_up() -> None:
    def resolve(_: str) -> list[str]:
        raise OSError("no server answers")

    async def looked_up() -> dict[str, list[str]]:
        found = names(resolve, [], db_internal=["10.0.0.7"])
        await found.look_up([["db.internal"]])
        return found.addresses()

    assert asyncio.run(looked_up()) == {"db.internal": ["10.0.0.7"]}


def test_an_address_is_this_hosts_own_if_packets_to_it_come_from_it() -> None:
    assert is_own("127.0.0.1")
    assert not is_own("192.0.2.1")
    assert not is_own("2001:db8::1")
    assert not is_own("no address")
