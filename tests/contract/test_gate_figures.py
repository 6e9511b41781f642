"""What workers count in their mapped files, and what an app's totals come to however workers and instances end."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.serving import gate, gate_asgi, gate_figures_reader
from reconciler.serving.gate_figures import SPANS
from reconciler.serving.gate_figures_reader import keep, last_busy, of_app, of_instance

GATE: Any = gate  # untyped, as Python 2.7 runs them
GATE_ASGI: Any = gate_asgi

WORKER = f"""
import os, sys, time
sys.path.insert(0, {str(Path(gate_figures_reader.__file__).parents[2])!r})
from reconciler.serving.gate_figures import Figures
open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
mine = Figures(sys.argv[1], time.monotonic)
for _ in range(int(sys.argv[2])):
    mine.end(mine.begin(), 2)
mine.begin()
"""


def a_gate(passed: Path, path: str | None = None) -> Any:
    """The gate of this process, which is its only worker."""
    passed.mkdir(parents=True, exist_ok=True)
    made = GATE.Gate(app="blog", passed=str(passed), doorbell="/nowhere", path=path, host="h", timeout_s=1)
    made.let_in()
    return made


def a_request(uri: str = "/", agent: str = "curl") -> Any:
    return SimpleNamespace(uri=uri, headers=[("USER-AGENT", agent)])


def answered(status: str | None, *, sent: bool = True) -> Any:
    return SimpleNamespace(status=status, headers_sent=sent)


def died(passed: Path, requests: int) -> int:
    """The pid of a worker that answered so many requests and died during another."""
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(passed), str(requests)])
    assert process.wait(60) == 0
    return process.pid


@pytest.fixture
def passed(tmp_path: Path) -> Path:
    place = tmp_path / "app/passed/i1"
    place.mkdir(parents=True)
    return place


def test_a_request_counts_in_its_class_and_is_in_flight_until_it_is_over(passed: Path) -> None:
    one, two = a_request(), a_request()
    worker = a_gate(passed)
    worker.begin(one)
    worker.begin(two)
    seen = of_instance(passed)
    assert (seen.in_flight, seen.busy, seen.workers, seen.requests) == (2, 1, 1, 0)
    worker.end(one, answered("404 Not Found"))
    worker.end(two, answered("200 OK"))
    seen = of_instance(passed)
    assert (seen.in_flight, seen.busy, seen.classes) == (0, 0, (0, 1, 0, 1, 0))
    assert sum(seen.buckets) == 2
    assert 0 < seen.seconds < 30


def test_a_request_that_waited_in_the_queue_counts_as_long_as_it_did(passed: Path) -> None:
    worker = a_gate(passed)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        client.sendall(b"GET / HTTP/1.1")
        time.sleep(0.15)  # as a queue would
        taken, _ = listener.accept()
        with taken:
            request = a_request()
            request.unreader = SimpleNamespace(sock=taken)
            worker.begin(request)
    worker.end(request, answered("200 OK"))
    seen = of_instance(passed)
    assert (sum(seen.waits), seen.requests) == (1, 1)
    assert seen.waited_s >= 0.1
    keep(passed)
    assert (of_app(passed.parent).waits, of_app(passed.parent).waited_s) == (seen.waits, seen.waited_s)


def test_a_worker_at_a_unix_socket_tells_no_waits_and_counts_all_else(passed: Path) -> None:
    worker = a_gate(passed)
    one, other = socket.socketpair()
    with one, other:
        request = a_request()
        request.unreader = SimpleNamespace(sock=one)
        worker.begin(request)
    worker.end(request, answered("200 OK"))
    assert (sum(of_instance(passed).waits), of_instance(passed).requests) == (0, 1)


def test_the_file_of_a_worker_that_an_earlier_daemon_started_is_read_as_well(passed: Path) -> None:
    _ask(a_gate(passed), 3)
    file = passed / str(os.getpid())
    file.write_bytes(file.read_bytes()[: 8 * (4 + 5 * SPANS)])
    seen = of_instance(passed)
    assert (seen.requests, sum(seen.waits), seen.waited_s) == (3, 0, 0.0)


@pytest.mark.parametrize("answer", [None, answered(None), answered("200 OK", sent=False), answered("500 Oops")])
def test_what_was_not_sent_is_gunicorns_own_500(passed: Path, answer: Any) -> None:
    worker, request = a_gate(passed), a_request()
    worker.begin(request)
    worker.end(request, answer)
    worker.end(request, answer)
    assert of_instance(passed).classes == (0, 0, 0, 0, 1)


def test_asking_for_the_health_path_is_nobodys_request(passed: Path) -> None:
    worker = a_gate(passed, path=None)
    worker.path = "/healthz"
    for request in (a_request("/healthz", "reconciler-health"), a_request("/healthz"), a_request("/")):
        worker.begin(request)
        worker.end(request, answered("200 OK"))
    assert of_instance(passed).requests == 2


def test_no_count_is_lost_between_threads(passed: Path) -> None:
    worker, each = a_gate(passed), 5000
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=_ask, args=(worker, each)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    seen = of_instance(passed)
    assert (seen.requests, sum(seen.buckets), seen.in_flight) == (4 * each, 4 * each, 0)


def _ask(worker: Any, times: int) -> None:
    for _ in range(times):
        request = a_request()
        worker.begin(request)
        worker.end(request, answered("200 OK"))


def test_the_next_worker_goes_on_with_the_figures_of_one_that_died(passed: Path) -> None:
    master: Any = GATE.Gate(app="blog", passed=str(passed), doorbell="/nowhere", path=None, host="h", timeout_s=1)
    for _ in range(3):
        pid = died(passed, 5)
        assert of_instance(passed).in_flight == 1, "nobody knows yet that it died"
        master.bury(SimpleNamespace(LISTENERS=[1]), pid)
        assert (of_instance(passed).in_flight, of_instance(passed).workers) == (0, 0)
    assert of_instance(passed).requests == 15
    assert [path.name.partition("-")[0] for path in passed.glob("*left*")] == ["left"], "more files than workers"
    worker = a_gate(passed)
    _ask(worker, 1)
    seen = of_instance(passed)
    assert (seen.requests, seen.in_flight, seen.workers) == (16, 0, 1)


def test_nobody_takes_a_file_over_before_its_worker_is_certainly_gone(passed: Path) -> None:
    leaving = a_gate(passed)
    _ask(leaving, 2)
    leaving.leave()
    died(passed, 1)
    assert of_instance(passed).requests == 3
    _ask(leaving, 1)
    assert of_instance(passed).requests == 4, "two wrote to one file"


def test_a_worker_on_a_full_disk_counts_nothing_and_is_taken_for_busy(passed: Path) -> None:
    worker: Any = GATE.Gate(
        app="blog", passed=str(passed / "nowhere"), doorbell="/no", path=None, host="h", timeout_s=1
    )
    request = a_request()
    worker.begin(request)
    worker.end(request, answered("200 OK"))
    empty = passed / "4242"
    empty.touch()
    assert (of_instance(passed).workers, of_instance(passed).requests) == (1, 0)
    busy = last_busy([empty])
    assert busy is not None
    assert time.monotonic() - busy < 60


def test_totals_outlive_instances_and_are_added_once_wherever_the_daemon_dies(passed: Path) -> None:
    died(passed, 7)
    keep(passed)
    keep(passed)
    assert of_app(passed.parent).requests == 7, "the files are still there, and the ledger has them"
    for path in passed.iterdir():
        path.unlink()
    passed.rmdir()
    keep(passed)
    assert of_app(passed.parent).requests == 7
    other = passed.with_name("i2")
    other.mkdir()
    died(other, 3)
    assert of_app(passed.parent).requests == 10
    keep(other)
    assert of_app(passed.parent).requests == 10


@pytest.mark.parametrize("ledger", ["", "{", "[]", '{"classes": [1], "buckets": [], "seconds": 0, "instances": []}'])
def test_a_damaged_ledger_costs_the_past_and_nothing_else(passed: Path, ledger: str) -> None:
    (passed.parents[1] / "figures.json").write_text(ledger)
    died(passed, 2)
    assert of_app(passed.parent).requests == 2
    keep(passed)
    assert json.loads((passed.parents[1] / "figures.json").read_text())["classes"][1] == 2


def test_a_file_of_another_layout_tells_nothing(passed: Path) -> None:
    (passed / "4242").write_bytes(b"\xff" * 4096)
    seen = of_instance(passed)
    assert (seen.workers, seen.requests, seen.in_flight) == (1, 0, 0)


def test_a_ledger_that_cannot_be_written_stops_nothing(passed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    died(passed, 2)
    (passed.parents[1] / ".figures.json.draft").mkdir()
    keep(passed)
    assert of_app(passed.parent).requests == 2


# ASGI

SCOPE = {"type": "http", "path": "/", "headers": []}


async def _answers(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b"x", "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _raises(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError


async def _says_nothing(scope: Any, receive: Any, send: Any) -> None: ...


async def _breaks_off(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise RuntimeError


async def _is_left(scope: Any, receive: Any, send: Any) -> None:
    raise asyncio.CancelledError


async def _raises_afterwards(scope: Any, receive: Any, send: Any) -> None:
    await _answers(scope, receive, send)
    raise RuntimeError


@pytest.mark.parametrize(
    ("app", "scope", "classes"),
    [
        (_answers, SCOPE, (0, 1, 0, 0, 0)),
        (_raises, SCOPE, (0, 0, 0, 0, 1)),
        (_says_nothing, SCOPE, (0, 0, 0, 0, 1)),
        (_breaks_off, SCOPE, (0, 0, 0, 0, 1)),
        (_raises_afterwards, SCOPE, (0, 1, 0, 0, 0)),
        (_is_left, SCOPE, (0, 0, 0, 0, 0)),
        (_says_nothing, {**SCOPE, "type": "websocket"}, (0, 0, 0, 0, 0)),
        (_answers, {**SCOPE, "path": "/healthz", "headers": [(b"user-agent", b"reconciler-health")]}, (0, 0, 0, 0, 0)),
        (_answers, {**SCOPE, "path": "/healthz"}, (0, 1, 0, 0, 0)),
    ],
)
def test_an_asgi_app_counts_what_it_answers(
    passed: Path, app: Callable[..., Any], scope: dict[str, Any], classes: tuple[int, ...]
) -> None:
    worker = a_gate(passed)
    worker.path = "/healthz"
    during: list[int] = []
    sent: list[str] = []

    async def observed(*given: Any) -> None:
        during.append(of_instance(passed).in_flight)
        await app(*given)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])

    async def story() -> None:
        await asyncio.gather(GATE_ASGI._counted(worker, observed)(scope, None, send), return_exceptions=True)

    asyncio.run(story())
    seen = of_instance(passed)
    assert (seen.classes, sum(seen.buckets), seen.in_flight) == (classes, sum(classes), 0)
    assert during == [0 if scope.get("headers") else 1]
    assert len(sent) == {_answers: 3, _raises_afterwards: 3, _breaks_off: 1}.get(app, 0)


def test_background_work_after_the_answer_is_in_flight_but_takes_nobodys_time(passed: Path) -> None:
    worker, gone_on = a_gate(passed), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await _answers(scope, receive, send)
        await gone_on.wait()

    async def story() -> None:
        counted = GATE_ASGI._counted(worker, app)
        call = asyncio.create_task(counted(SCOPE, None, _swallow))
        await asyncio.sleep(0)
        assert of_instance(passed).in_flight == 1
        gone_on.set()
        await call

    asyncio.run(story())
    assert of_instance(passed).classes == (0, 1, 0, 0, 0)


async def _swallow(message: Any) -> None: ...


def test_the_files_of_workers_are_named_by_their_pids(passed: Path) -> None:
    a_gate(passed)
    assert {path.name for path in passed.iterdir()} == {str(os.getpid())}
