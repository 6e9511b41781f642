"""Letting kept connections go in the threads of gunicorn before 27, which cut them, and in unknown worker classes."""

import signal
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.workers import gthread  # type: ignore[import-untyped]

from reconciler.serving import gate_drain


class OldThreadWorker:
    """As much of one as its end takes."""

    __module__ = "gunicorn.workers.gthread"

    def __init__(self) -> None:
        self.cfg = SimpleNamespace(keepalive=2, graceful_timeout=30)
        self.max_keepalived = 900
        self.nr, self.max_requests = 0, 1000
        self.alive, self.beats, self.sockets, self.accepting = True, 0, ["listener"], ["listener"]
        self.poller = SimpleNamespace(unregister=self.accepting.remove)

    def notify(self) -> None:
        self.beats += 1

    def handle_exit(self, _number: int, _frame: object) -> None:
        self.alive = False


@pytest.fixture
def _own_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_own_handler")
def test_threads_announce_the_end_for_as_long_as_a_connection_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(gthread, "STOP_KEEPALIVE_LINGER")
    moments = iter([100.0, 100.1, 102.4, 102.6])
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    worker: Any = OldThreadWorker()
    assert _guard(worker)
    worker.notify()
    assert worker.accepting
    signal.raise_signal(signal.SIGTERM)
    assert worker.max_keepalived == 0, "gunicorn closes each connection with its answer"
    assert worker.cfg.keepalive == 2, "what an answer has just promised to keep is kept"
    worker.notify()
    worker.notify()
    assert (worker.accepting, worker.alive) == ([], True)
    worker.notify()
    assert (worker.alive, worker.beats) == (False, 4)


@pytest.mark.usefixtures("_own_handler")
def test_a_worker_that_has_done_its_requests_goes_on_accepting_while_it_lets_its_connections_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(gthread, "STOP_KEEPALIVE_LINGER")
    moments = iter([100.0, 100.0, 102.6])
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    worker: Any = OldThreadWorker()
    assert _guard(worker)
    worker.nr = 1000
    assert worker.nr < worker.max_requests, "gunicorn itself would cut them"
    worker.notify()
    assert (worker.max_keepalived, worker.alive, worker.accepting) == (0, True, ["listener"])
    worker.notify()
    assert not worker.alive


@pytest.mark.parametrize(
    ("module", "let_go"),
    [("gunicorn.workers.sync", True), ("gunicorn.workers.ggevent", True), ("somebody.workers", False)],
)
def test_a_worker_of_no_known_class_is_told_to_cut_its_connections(module: str, let_go: bool) -> None:
    worker: Any = type("Worker", (), {"__module__": module, "cfg": SimpleNamespace(keepalive=2)})()
    assert _guard(worker) == let_go


def test_where_no_connection_is_kept_none_is_cut() -> None:
    worker: Any = type("Worker", (), {"cfg": SimpleNamespace(keepalive=0)})()
    assert _guard(worker)


def _guard(worker: Any) -> bool:
    guard: Any = gate_drain.guard
    closing: Any = gate_drain.Closing
    return bool(guard(worker, closing()))
