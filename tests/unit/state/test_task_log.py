"""Tasks on record: found by a beginning of their id, kept for a time, and each occurrence once."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.planning.tasks.task import Task
from reconciler.state.database import Database
from reconciler.state.schema import open_database
from reconciler.state.task_log import TaskLog

TASK = Task(
    id="8f3a21c0", app="shop", kind="schedule", name="cleanup", command='["true"]', state="succeeded", owed_at=10.0,
    timeout_s=60.0, schedule="cleanup", fingerprint="f", planned_at=10.0, ended_at=11.0, made_up=True,
)  # fmt: skip


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(open_database(tmp_path / "reconciler.db")) as opened:
        yield opened


def test_a_task_is_read_as_it_was_written(database: Database) -> None:
    log = TaskLog(database)
    log.add(TASK)
    assert log.find("8f3a") == [TASK]
    assert log.find("8f3a", "blog") == []
    assert log.find("%") == []
    changed = replace(TASK, said="done", code=0)
    log.put(changed)
    assert log.newest("shop", 9) == log.newest(None, 9, schedule="cleanup") == [changed]
    assert log.last_of_schedules() == {("shop", "cleanup"): changed}
    assert log.open_tasks() == []


def test_the_same_attempt_of_an_occurrence_cannot_be_written_twice(database: Database) -> None:
    log = TaskLog(database)
    log.add(TASK)
    with pytest.raises(sqlite3.IntegrityError):
        log.add(replace(TASK, id="00000001"))
    log.add(replace(TASK, id="00000001", attempt=2))
    log.add(replace(TASK, id="00000002", planned_at=70.0))
    assert {task.id for task in log.of_schedules("shop", 2)["cleanup"]} <= {"8f3a21c0", "00000001", "00000002"}
    assert len(log.of_schedules("shop", 2)["cleanup"]) == 2


def test_what_is_past_is_old_or_one_too_many_of_its_schedule_and_never_open(database: Database) -> None:
    log = TaskLog(database)
    for number in range(6):
        at = 100.0 + number
        log.add(replace(TASK, id=f"{number:08x}", owed_at=at, planned_at=at, ended_at=at + 1))
    log.add(replace(TASK, id="000000aa", kind="task", schedule="", planned_at=None, ended_at=5.0))
    log.add(replace(TASK, id="000000bb", kind="task", schedule="", planned_at=None, state="running", ended_at=None))
    past = {task: age for task, _, _, age in log.past(50.0, kept=4)}
    assert past == {"000000aa": 0, "00000000": 6, "00000001": 5}
    log.drop(tuple(past))
    assert log.ids() == {"00000002", "00000003", "00000004", "00000005", "000000bb"}


def test_the_history_of_a_schedule_is_kept_by_app_and_name(database: Database) -> None:
    log = TaskLog(database)
    log.set_history("shop", "cleanup", "{}")
    log.set_history("shop", "sync", "[]")
    log.set_history("shop", "sync", None)
    assert log.histories() == {"shop": {"cleanup": "{}"}}
