"""A worker that leaks ends before its instance needs more than it may have, and no other does."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.serving import gate, gate_memory
from reconciler.serving.live_instance import LiveInstance
from tests.unit.serving.test_live_instance import _RECORD

_MB = 1 << 20
memory: Any = gate_memory
Worker = type("Worker", (), {"__module__": "gunicorn.workers.sync"})


class Grown:
    """A worker of which each request leaves so many megabytes; its master has ten, and it has twenty at first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, limit: int | None, workers: int = 1) -> None:
        self.limit, self.own, self.others = limit, 20 * _MB, dict[int, int]()
        self.worker: Any = Worker()
        self.worker.alive, self.worker.cfg = True, SimpleNamespace(workers=workers)
        self.said = list[str]()
        monkeypatch.setattr(memory, "_of", lambda _: self.own)
        monkeypatch.setattr(memory, "_of_other", lambda pid: self.others.get(pid, 10 * _MB))
        monkeypatch.setattr(memory, "_children", lambda _: self.others)
        guarded = SimpleNamespace(log=self.said.append)
        self.watched = memory.guard(guarded, self.worker, lambda: self.limit)

    def after(self, *megabytes: float) -> int:
        """Answer requests that leave these; return after how many it ends, 0 if it does not."""
        for number, each in enumerate(megabytes, 1):
            self.own += int(each * _MB)
            self.watched.look()
            if not self.worker.alive:
                return number
        return 0


def test_a_worker_whose_requests_leave_more_and_more_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    grown = Grown(monkeypatch, 256 * _MB)
    assert grown.after(*[10] * 30) == 20
    (said,) = grown.said
    assert said.endswith(
        "after 20 requests: the instance has 220 of 256 MB, and each of the last 4 left 10.0 MB or more"
    )


@pytest.mark.parametrize(
    "left",
    [
        [200, *[0] * 50],
        [170, 15, 15, *[0] * 9],
        [10, -10] * 30,
        [220, 0.001, 0.001, 0, 0.002],
        [100, 0, 100, 0, 0],
    ],
)
def test_a_worker_that_needs_much_and_no_more_stays(monkeypatch: pytest.MonkeyPatch, left: list[float]) -> None:
    assert Grown(monkeypatch, 256 * _MB).after(*left) == 0


def test_what_its_siblings_have_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Grown(monkeypatch, 256 * _MB, workers=2)
    assert alone.after(*[10] * 30) == 20
    beside = Grown(monkeypatch, 256 * _MB, workers=2)
    beside.others = {7: 110 * _MB}
    assert beside.after(*[10] * 30) == 10


def test_a_limit_that_has_changed_holds_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    grown = Grown(monkeypatch, 256 * _MB)
    grown.limit = 128 * _MB
    assert grown.after(*[10] * 30) == 7
    grown = Grown(monkeypatch, 256 * _MB)
    grown.limit = 512 * _MB
    assert grown.after(*[10] * 44) == 0
    grown.limit = None
    assert grown.after(*[10] * 44) == 0


def test_a_descriptor_that_the_app_has_closed_costs_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    grown = Grown(monkeypatch, 256 * _MB)

    def closed(_: int) -> int:
        raise OSError

    monkeypatch.setattr(memory, "_of", closed)
    assert grown.after(10) == 0


def test_workers_of_other_kinds_are_left_to_hand_overs() -> None:
    threads: Any = type("Threads", (), {"__module__": "gunicorn.workers.gthread"})()
    assert memory.guard(None, threads, lambda: 1) is None


def test_a_gate_knows_the_limit_that_the_daemon_told_last(tmp_path: Path) -> None:
    live = LiveInstance(record=_RECORD, readiness=tmp_path, log=tmp_path / "app.log", link=tmp_path / "code")
    told: Any = gate._MASTER
    assert told.memory_limit(str(tmp_path)) is None
    for most in (512 * _MB, 256 * _MB, 1024 * _MB):
        live.tell_memory(most)
        assert told.memory_limit(str(tmp_path)) == most
        assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / "memory-").touch()
    (tmp_path / "memory-many").touch()
    assert told.memory_limit(str(tmp_path)) == 1024 * _MB
    live.tell_memory(None)
    assert told.memory_limit(str(tmp_path)) is None
    assert told.memory_limit(str(tmp_path / "nowhere")) is None
