"""The tasks of every app: what was asked for, what runs, and what became of it.

A task is written before its process exists, so that whatever instruction the daemon dies at, the next one finds either
a task to start or one to follow. Those that have ended are kept for a time, and of each schedule the newest few.
"""

from collections.abc import Sequence

from reconciler.planning.tasks.task import Task
from reconciler.state.database import Database
from reconciler.state.table import Table

_TASKS = Table("task", Task)


class TaskLog:
    """Reads and writes the tasks of apps."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open_tasks(self) -> list[Task]:
        """Return every task that has not ended, oldest first. Raises sqlite3.Error."""
        return _TASKS.rows(self._database, "WHERE state IN ('owed', 'running') ORDER BY owed_at, id")

    def find(self, beginning: str, app: str | None = None, most: int = 5) -> list[Task]:
        """Return tasks whose id begins so, of an app or of all, the newest first. Raises sqlite3.Error."""
        return _TASKS.rows(
            self._database,
            "WHERE substr(id, 1, ?) = ? AND (? IS NULL OR app = ?) ORDER BY owed_at DESC, id LIMIT ?",
            (len(beginning), beginning, app, app, most),
        )

    def newest(self, app: str | None, most: int, *, schedule: str | None = None) -> list[Task]:
        """Return the newest tasks of an app or of all, of a schedule or of any, newest first. Raises sqlite3.Error."""
        return _TASKS.rows(
            self._database,
            "WHERE (? IS NULL OR app = ?) AND (? IS NULL OR schedule = ?) ORDER BY owed_at DESC, id LIMIT ?",
            (app, app, schedule, schedule, most),
        )

    def of_schedules(self, app: str, most: int) -> dict[str, list[Task]]:
        """Return the newest tasks of each schedule of an app, newest first. Raises sqlite3.Error."""
        found: dict[str, list[Task]] = {}
        for task in _TASKS.rows(
            self._database,
            "WHERE id IN (SELECT id FROM ("
            "SELECT id, row_number() OVER (PARTITION BY schedule ORDER BY owed_at DESC, attempt DESC, id) AS age"
            " FROM task WHERE app = ? AND kind = 'schedule') WHERE age <= ?) ORDER BY owed_at DESC, attempt DESC, id",
            (app, most),
        ):
            found.setdefault(task.schedule, []).append(task)
        return found

    def last_of_schedules(self) -> dict[tuple[str, str], Task]:
        """Return the last task of each schedule that began and has ended, by app and name. Raises sqlite3.Error."""
        rows = _TASKS.rows(
            self._database,
            "WHERE id IN (SELECT id FROM ("
            "SELECT id, row_number() OVER (PARTITION BY app, schedule ORDER BY owed_at DESC, attempt DESC, id) AS age"
            " FROM task WHERE kind = 'schedule' AND state IN ('succeeded', 'failed', 'cancelled')) WHERE age = 1)",
        )
        return {(task.app, task.schedule): task for task in rows}

    def histories(self) -> dict[str, dict[str, str]]:
        """Return the history of each schedule as JSON, by app and name. Raises sqlite3.Error."""
        found: dict[str, dict[str, str]] = {}
        for app, name, history in self._database.execute("SELECT app, name, history FROM schedule"):
            found.setdefault(app, {})[name] = history
        return found

    def set_history(self, app: str, schedule: str, history: str | None) -> None:
        """Write the history of a schedule, or forget it."""
        key = ("schedule", app, schedule)
        if history is None:
            self._database.write(key, "DELETE FROM schedule WHERE app = ? AND name = ?", (app, schedule))
        else:
            self._database.write(key, "INSERT OR REPLACE INTO schedule VALUES (?, ?, ?)", (app, schedule, history))

    def add(self, task: Task) -> None:
        """Write a new task; the same occurrence cannot be written twice."""
        self._database.write(("task", task.id), *_TASKS.add(task))

    def put(self, task: Task) -> None:
        """Write a task that has changed, whether or not its first writing was done."""
        self._database.write(("task", task.id), *_TASKS.put(task))

    def is_deferred(self, task: str) -> bool:
        """Return whether what was written of a task last is not on record yet."""
        return self._database.is_deferred(("task", task))

    def drop(self, ids: Sequence[str]) -> None:
        """Forget these tasks."""
        for task in ids:
            self._database.write(("task", task), "DELETE FROM task WHERE id = ?", (task,))

    def past(self, before: float, *, kept: int) -> list[tuple[str, str, str, int]]:
        """Return id, app and schedule of tasks that are past, and how many of its schedule are newer, and itself.

        That number is 0 for one that ended before a time, and more than `kept` for the others. Raises sqlite3.Error.
        """
        rows = self._database.execute(
            "SELECT id, app, schedule, CASE WHEN coalesce(ended_at, 0) < ? THEN 0 ELSE age END FROM"
            " (SELECT id, app, state, ended_at, schedule, row_number() OVER"
            " (PARTITION BY app, schedule ORDER BY owed_at DESC, id) AS age FROM task)"
            " WHERE state NOT IN ('owed', 'running')"
            " AND (coalesce(ended_at, 0) < ? OR (schedule != '' AND age > ?))",
            (before, before, kept),
        )
        return [(str(task), str(app), str(schedule), int(age)) for task, app, schedule, age in rows]

    def ids(self) -> frozenset[str]:
        """Return the id of every task on record. Raises sqlite3.Error."""
        return frozenset(str(task) for (task,) in self._database.execute("SELECT id FROM task"))
