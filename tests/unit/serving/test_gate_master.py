"""The gate on the master's side: how long a worker may take until it has passed, whatever gunicorn's own limit is."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.serving import gate


def a_gate(passed: Path, **different: Any) -> Any:
    given = {"app": "blog", "passed": str(passed), "doorbell": "/nowhere", "path": None, "host": "h", "timeout_s": 1}
    made: Any = gate.Gate
    return made(**{**given, **different})


def a_worker() -> Any:
    return SimpleNamespace(tmp=SimpleNamespace(last_update=lambda: 100.0, close=lambda: None))


def test_until_it_has_passed_a_worker_may_take_as_long_as_the_start(tmp_path: Path) -> None:
    """Gunicorn before 21 ends a worker whose last beat is `timeout` seconds old, while it boots as well."""
    watched, worker = a_gate(tmp_path, start_timeout_s=120.0), a_worker()
    server = SimpleNamespace(timeout=30, WORKERS={7: worker}, cfg=SimpleNamespace(child_exit=None))
    watched.expect(server, worker)
    assert worker.tmp.last_update() == 190.0
    (tmp_path / "7").touch()
    worker.tmp.last_update()
    assert worker.tmp.last_update() == 100.0


def test_the_number_of_workers_is_replaced_whole_and_is_gone_where_the_disk_is_full(tmp_path: Path) -> None:
    watched, told = a_gate(tmp_path), tmp_path / "workers"
    watched.resize(3, None)
    with told.open() as reader:
        watched.resize(2, 3)
        assert reader.read() == "3"
    assert [path.name for path in tmp_path.iterdir()] == ["workers"]
    assert told.read_text() == "2"
    (tmp_path / f"draft-{os.getpid()}").mkdir()  # as where nothing can be written
    watched.resize(1, 2)
    assert not told.exists()


@pytest.mark.parametrize(("serving", "stopping"), [(True, False), (False, True)])
def test_a_worker_that_exits_early_ends_no_instance_that_serves_or_stops(
    tmp_path: Path, serving: bool, stopping: bool
) -> None:
    if serving:
        (tmp_path / "serving").touch()
    watched = a_gate(tmp_path)
    watched.bury(SimpleNamespace(LISTENERS=[] if stopping else [1]), 7)
    assert not (tmp_path / "exited").exists()
    assert watched.exited_early == serving


def test_the_exit_of_a_worker_that_has_not_said_why_is_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class HaltServer(Exception):
        pass

    monkeypatch.setitem(sys.modules, "gunicorn.errors", SimpleNamespace(HaltServer=lambda *_: HaltServer()))
    watched, server = a_gate(tmp_path), SimpleNamespace(LISTENERS=[1])

    def reap_workers() -> None:
        wpid, status = 7, 11  # noqa: F841  as gunicorn names them
        watched.bury(server, 7)

    with pytest.raises(HaltServer):
        reap_workers()
    assert capsys.readouterr().err == "reconciler: not ready: a worker was ended by SIGSEGV before it was ready\n"
    (tmp_path / "refused").touch()
    with pytest.raises(HaltServer):
        reap_workers()
    assert capsys.readouterr().err == ""


def test_a_worker_that_was_not_ready_says_in_the_log_when_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watched = a_gate(tmp_path)
    watched.let_in(counts=False)
    assert capsys.readouterr().err == ""
    watched.tell("GET / answered 503")
    watched.let_in(counts=False)
    assert capsys.readouterr().err == "reconciler: not ready: GET / answered 503\nreconciler: ready\n"


def test_a_gunicorn_without_the_hook_for_exits_tells_by_closing_the_heartbeat(tmp_path: Path) -> None:
    watched, worker = a_gate(tmp_path), a_worker()
    (tmp_path / "7").touch()
    watched.expect(SimpleNamespace(timeout=30, WORKERS={7: worker}, cfg=SimpleNamespace(), LISTENERS=[1]), worker)

    def reap_workers() -> None:
        wpid, status = 7, 9  # noqa: F841  as gunicorn names them
        worker.tmp.close()

    reap_workers()
    assert (tmp_path / "fallen-7").read_text() == "was ended by SIGKILL"


def test_what_a_worker_writes_is_there_with_all_of_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, bool]] = []
    rename = os.rename

    def watched(draft: str, place: str) -> None:
        written.append((Path(draft).read_text(encoding="utf-8"), Path(place).exists()))
        rename(draft, place)

    monkeypatch.setattr(os, "rename", watched)
    a_gate(tmp_path).write("refused", "no such luck")
    assert written == [("no such luck", False)]
    assert (tmp_path / "refused").read_text(encoding="utf-8") == "no such luck"
    assert [path.name for path in tmp_path.iterdir()] == ["refused"]
