"""The rules of where apps connect to, as another program changes tables of this host again and again."""

import asyncio
import errno
import itertools
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from reconciler.host.network_memory import Held
from reconciler.host.network_rules import NetworkRules
from reconciler.linux import nftables
from reconciler.linux.filter_table import checksum


def test_rules_that_the_kernel_refused_are_given_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing, asked = True, list[str]()

    def replace(table: str, *_: object) -> None:
        asked.append(table)
        if refusing:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(nftables, "generation", lambda: 7)
    monkeypatch.setattr(nftables, "mark_of", lambda _: ("", 0))
    monkeypatch.setattr(nftables, "replace", replace)
    shop = Held(user=70_001, places=())

    async def admitted() -> None:
        nonlocal refusing
        rules = NetworkRules("reconciler-a", tmp_path / "memory", asked.append, resolve=lambda _: [])
        for _ in range(2):
            with pytest.raises(OSError, match="cannot give the kernel the rules"):
                rules.admit("shop", shop)
        refusing = False
        rules.admit("shop", shop)

    asyncio.run(admitted())
    assert asked == ["reconciler-a"] * 3


def test_rules_that_are_removed_while_they_are_looked_at_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel: dict[str, Any] = {"generation": 1, "there": ("", 0), "removes": False}

    def replace(_: str, table: Any, mark: str) -> None:
        kernel.update(generation=kernel["generation"] + 1, there=(mark, checksum(table)))

    def mark_of(_: str) -> tuple[str, int]:
        found: tuple[str, int] = kernel["there"]
        if kernel["removes"]:  # another program, right after this look
            kernel.update(generation=kernel["generation"] + 1, there=("", 0), removes=False)
        return found

    monkeypatch.setattr(nftables, "generation", lambda: kernel["generation"])
    monkeypatch.setattr(nftables, "mark_of", mark_of)
    monkeypatch.setattr(nftables, "replace", replace)

    async def applied() -> tuple[str, int]:
        told: list[str] = []
        rules = NetworkRules("reconciler-a", tmp_path / "memory", told.append, resolve=lambda _: [])
        rules.admit("shop", Held(user=70_001, places=()))
        kernel.update(generation=kernel["generation"] + 1, removes=True)  # another program changes its own table
        rules.apply()
        rules.apply()
        return tuple(kernel["there"])

    mark, rules = asyncio.run(applied())
    assert mark
    assert rules


def test_rules_are_looked_at_as_soon_as_a_table_changes_and_not_once_for_each_of_many_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    looks = itertools.count()
    monkeypatch.setattr(nftables, "watch", lambda: ours)
    monkeypatch.setattr(nftables, "generation", lambda: next(looks))
    monkeypatch.setattr(nftables, "mark_of", lambda _: ("", 0))
    replaced: list[str] = []
    monkeypatch.setattr(nftables, "replace", lambda table, *_: replaced.append(table))

    async def changed() -> tuple[int, int]:
        rules = NetworkRules("reconciler-a", tmp_path / "memory", replaced.append, resolve=lambda _: [])
        rules.want({"shop": Held(user=70_001, places=())})
        task = asyncio.create_task(rules.run(lambda: None))
        await rules.looked_up()
        before = next(looks)
        theirs.send(b"x")
        for _ in range(3):
            await asyncio.sleep(0)
        at_once = next(looks) - before - 1
        for _ in range(500):
            theirs.send(b"x")
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return at_once, next(looks) - before

    at_once, in_all = asyncio.run(changed())
    theirs.close()
    assert at_once >= 1
    assert in_all < 100
