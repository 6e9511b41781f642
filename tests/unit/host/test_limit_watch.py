"""How often instances with limits are looked at, however many there are."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reconciler.host import limit_watch
from reconciler.host.limit_watch import LimitWatch
from reconciler.planning.isolation.limits import Limits
from reconciler.state.paths import StatePaths

M = 1 << 20


class Instances:
    """Some instances with limits, started a tenth of a second apart; `looked` are those whose kills were read."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.lives: list[Any] = []
        self.looked: list[Any] = []
        self.measured: list[Any] = []
        patch.setattr(limit_watch, "memory_kills", self.look_at)
        patch.setattr(limit_watch, "used_memory", lambda cell: 50 * M)
        patch.setattr(limit_watch, "memory_pressure", lambda cell: 0.0)
        patch.setattr(limit_watch, "disk_use", self.measure)

    def look_at(self, cell: Any) -> int:
        self.looked.append(cell)
        return 0

    def measure(self, places: Any) -> int:
        self.measured.append(places)
        return 8 * M

    def all(self) -> Iterator[Any]:
        return iter(self.lives)

    def wake(self, key: str) -> None: ...

    def add(self, number: int, now: float) -> None:
        record = SimpleNamespace(
            id=str(number),
            key="web",
            app="web",
            started_at=now - 1000,
            ready_at=1.0,
            workers=2,
            process="worker",
            slot=number,
            pid=number,
        )
        live = SimpleNamespace(
            record=record, limits=Limits(memory=512 * M, disk=M), process=SimpleNamespace(pid=1), end=None,
            held={"memory": "together"}, cell=number, outgrown="", runs=True, beyond={}, kills=0,
            fallen=frozenset[int],
        )  # fmt: skip
        self.lives.append(live)


@pytest.fixture
def instances(monkeypatch: pytest.MonkeyPatch) -> Instances:
    return Instances(monkeypatch)


def a_watch(instances: Instances) -> LimitWatch:
    stores = SimpleNamespace(record_event=None)
    return LimitWatch(cast("Any", None), cast("Any", stores), cast("Any", instances), rest_s=600)


def test_each_is_looked_at_when_it_is_due_and_they_are_looked_at_together(instances: Instances) -> None:
    watch, now = a_watch(instances), 1000.0
    for number in range(100):
        instances.add(number, now)
        watch.look(now)
        now += 0.1
    instances.looked.clear()
    looks, end = 0, now + 60
    while now < end:
        wait_s = watch.look(now)
        assert wait_s is not None
        looks, now = looks + 1, now + wait_s
    assert looks <= 130, "twice a second, whatever their number"
    assert len(instances.looked) <= 100 * 14, "each every five seconds"
    assert set(instances.looked) == set(range(100))


def test_of_those_that_are_not_due_only_the_woken_one_is_looked_at(instances: Instances) -> None:
    watch = a_watch(instances)
    for number in range(3):
        instances.add(number, 1000.0)
    watch.look(1000.0)
    instances.looked.clear()
    watch.look(1000.1, {"1"})
    assert instances.looked == [1]


def test_the_disk_of_an_app_is_measured_once_for_all_its_instances(instances: Instances, tmp_path: Path) -> None:
    told = list[str]()
    stores = SimpleNamespace(record_event=lambda app, kind, text, **_: told.append(text))
    watch = LimitWatch(StatePaths(state=tmp_path), cast("Any", stores), cast("Any", instances), rest_s=600)
    for number in range(3):
        instances.add(number, 1000.0)
    asyncio.run(watch.look_at_disk(*instances.lives))
    assert len(instances.measured) == 1
    assert len(told) == 3
