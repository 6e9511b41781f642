"""The rules of where apps connect to, as another program changes tables of this host again and again."""

import asyncio
import itertools
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from reconciler.host.network_memory import Held
from reconciler.host.network_rules import NetworkRules
from reconciler.linux import nftables


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
