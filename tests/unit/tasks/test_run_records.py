"""What a runner carries of its task stands in for what the database never got."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.planning.tasks.task import Task
from reconciler.serving.marks import Marked
from reconciler.tasks.results import forget_results
from reconciler.tasks.run_records import carried, ended_unrecorded, missing

TASK = Task(
    id="8f3a21c0", app="shop", kind="task", name="reindex", command='["reindex", "--all"]', state="running",
    owed_at=1.0, started_at=5.0, timeout_s=60.0, boot="this",
)  # fmt: skip


def runner(record: str, **fields: object) -> Marked:
    known: dict[str, object] = {"pid": 7, "instance": "", "app": "shop", "leads": True, "task": TASK.id, "runner": True}
    return Marked(record=record, **{**known, **fields})  # type: ignore[arg-type]


def test_a_task_that_has_a_runner_runs_whatever_the_database_says_of_its_beginning() -> None:
    owed = replace(TASK, state="owed", started_at=None, boot="", cancelled_by="ann")
    found = [runner(carried(TASK))]
    assert list(missing(found, {})) == [TASK]
    assert list(missing(found, {TASK.id: owed})) == [replace(TASK, cancelled_by="ann")]
    assert list(missing(found, {TASK.id: TASK})) == []
    assert list(missing([runner(carried(TASK), runner=False)], {})) == []
    long = list(missing([runner(carried(replace(TASK, command=json.dumps(["reindex", "\1" * 30_000]))))], {}))
    assert [task.words for task in long] == [("reindex",)]


@pytest.mark.parametrize(
    "record",
    [
        "", "[]", "7", "{}", '{"id": "8f3a21c0"}', carried(replace(TASK, id="00000000")),
        carried(replace(TASK, app="x")),
        carried(replace(TASK, state="succeeded")), carried(TASK).replace('"command": "', '"command": "!'),
        carried(replace(TASK, command="[7]")), carried(replace(TASK, command="[]")), "[" * 100_000,
    ],
)  # fmt: skip
def test_a_record_that_no_daemon_wrote_of_this_task_is_none(record: str) -> None:
    assert list(missing([runner(record)], {})) == []


def test_a_result_of_a_task_that_is_not_on_record_is_the_tasks_record_too(tmp_path: Path) -> None:
    for name, record in (("8f3a21c0", carried(TASK)), ("00000001", carried(TASK)), ("00000002", "[" * 9**5), ("x", "")):
        (tmp_path / f"{name}.result").write_text(json.dumps({"record": record}))
    (tmp_path / "00000003.result").write_text("[" * 50_000)
    (tmp_path / "00000004.result").symlink_to("/dev/zero")
    assert list(ended_unrecorded(tmp_path, lambda _: False)) == [TASK]
    assert list(ended_unrecorded(tmp_path, lambda _: True)) == []
    assert list(ended_unrecorded(tmp_path / "none", lambda _: False)) == []


def test_a_daemon_that_begins_leaves_the_sockets_of_terminals_that_wait(tmp_path: Path) -> None:
    for name in ("8f3a21c0.json", "8f3a21c0.json.draft", "terminal-aa.sock", "terminal-bb.sock", "terminal-cc.sock"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (100, 100))
    os.utime(tmp_path / "terminal-bb.sock", (9000, 9000))
    forget_results(tmp_path, {"terminal-aa"}, 9100.0)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["terminal-aa.sock", "terminal-bb.sock"]
