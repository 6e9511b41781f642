"""The tasks that have not ended, with a database that takes no writes for some time."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.planning.tasks.task import Task
from reconciler.state.records import Records
from reconciler.state.schema import open_database
from reconciler.tasks.open_tasks import OpenTasks
from tests.support.eventually import eventually

TASK = Task(
    id="8f3a0001", app="shop", kind="schedule", name="sync", command='["true"]', state="running", owed_at=1.0,
    timeout_s=60.0, schedule="sync", started_at=1.0,
)  # fmt: skip


def test_a_task_that_ended_while_the_database_was_locked_is_known_to_have_ended(tmp_path: Path) -> None:
    file = tmp_path / "reconciler.db"
    with closing(open_database(file)) as database, closing(sqlite3.connect(file, isolation_level=None)) as stranger:
        database.defer(lambda key, error: pytest.fail(f"{key}: {error}"))
        tasks = OpenTasks(Records(database), 2)
        assert tasks.put(TASK, lasting=True)
        stranger.execute("BEGIN IMMEDIATE")
        ended = replace(TASK, state="failed", code=1, ended_at=2.0)
        assert not tasks.put(ended, lasting=True)
        assert tasks.of("shop") == ()
        assert tasks.and_unrecorded("shop") == (ended,)
        assert tasks.and_unrecorded("blog") == ()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            tasks.add(replace(TASK, id="8f3a0002", state="owed"))
        assert tasks.of("shop") == (), "what is refused is no task"
        stranger.execute("ROLLBACK")
        eventually(lambda: database.flush() == 0 and not database.problem)
        assert tasks.and_unrecorded("shop") == ()
        assert Records(database).task_log.find(TASK.id) == [ended]
