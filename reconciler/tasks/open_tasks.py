"""The tasks of this host that have not ended: held in memory, and on record before anything follows from them.

A full disk or a locked database delays a record and keeps no occurrence of a schedule from running. What an operator
asks for is accepted once it is on record.
"""

import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from reconciler.planning.tasks.admission import admitted
from reconciler.planning.tasks.task import Task
from reconciler.state.records import Records


class OpenTasks:
    """Every owed and running task, by app; `concurrency` is how many occurrences may run at once."""

    def __init__(self, records: Records, concurrency: int) -> None:
        self._records = records
        self._log = records.task_log
        self._concurrency = concurrency
        self._apps: dict[str, dict[str, Task]] = {}
        self._admitted: frozenset[str] | None = None
        self._held: dict[str, frozenset[str]] = {}
        self._unrecorded: dict[str, Task] = {}

    def restore(self) -> tuple[Task, ...]:
        """Read what an earlier daemon left, and return it. Raises sqlite3.Error."""
        found = self._log.open_tasks()
        for task in found:
            self._apps.setdefault(task.app, {})[task.id] = task
        self._admitted = None
        return tuple(found)

    def apps(self) -> frozenset[str]:
        """Return the apps that have one."""
        return frozenset(self._apps)

    def of(self, app: str) -> tuple[Task, ...]:
        """Return those of an app, oldest first."""
        return tuple(self._apps.get(app, {}).values())

    def and_unrecorded(self, app: str) -> tuple[Task, ...]:
        """Return those of an app, and those that have ended but are not on record as such yet."""
        self._unrecorded = {id_: task for id_, task in self._unrecorded.items() if self._log.is_deferred(id_)}
        return (*self.of(app), *(task for task in self._unrecorded.values() if task.app == app))

    def get(self, app: str, task: str) -> Task | None:
        """Return one of them, None once it has ended."""
        return self._apps.get(app, {}).get(task)

    def all(self) -> Iterator[Task]:
        """Return each of them."""
        for tasks in self._apps.values():
            yield from tasks.values()

    @property
    def admitted(self) -> frozenset[str]:
        """The owed ones that may start now, as far as the limits of the host are concerned."""
        if self._admitted is None:
            self._admitted = admitted(self.all(), self._concurrency, frozenset[str]().union(*self._held.values()))
        return self._admitted

    def hold(self, app: str, held: frozenset[str]) -> bool:
        """Keep these owed ones of an app out of the queue, and no others; return whether that is a change."""
        if self._held.get(app, frozenset()) == held:
            return False
        self._held[app] = held
        if not held:
            del self._held[app]
        self._admitted = None
        return True

    def waiting(self) -> frozenset[str]:
        """Return the apps with a task that may start now."""
        return frozenset(task.app for task in self.all() if task.id in self.admitted) if self.admitted else frozenset()

    def new_id(self) -> str:
        """Return an id that no task has."""
        while self._log.find(found := secrets.token_hex(4)):
            pass
        return found

    def add(self, task: Task) -> None:
        """Put a new task on record for good. Raises sqlite3.Error, and there is no such task then."""
        with self._records.lasting():
            self._log.add(task)
        self._keep(task)

    def record(self, app: str, tasks: Sequence[Task], histories: Mapping[str, str | None]) -> None:
        """Put tasks of an app and the histories of its schedules on record, all of it or nothing."""
        for task in tasks:
            self._keep(task)
        with suppress(sqlite3.Error), self._records.together():
            self._write(app, tasks, histories)
            return
        self._write(app, tasks, histories)  # deferred: what is not written yet is kept in memory

    def _write(self, app: str, tasks: Sequence[Task], histories: Mapping[str, str | None]) -> None:
        for task in tasks:
            self._put(task)
        for schedule, history in histories.items():
            self._log.set_history(app, schedule, history)

    def put(self, task: Task, *, lasting: bool = False) -> bool:
        """Put on record that a task has changed; return whether that survives a power cut, when it should."""
        self._keep(task)
        if lasting:
            try:
                with self._records.lasting():
                    self._log.put(task)
            except sqlite3.Error:
                pass
            else:
                return True
        self._put(task)
        return False

    def _put(self, task: Task) -> None:
        self._log.put(task)
        if not task.is_open and self._log.is_deferred(task.id):
            self._unrecorded[task.id] = task

    def _keep(self, task: Task) -> None:
        self._admitted = None
        if task.is_open:
            self._apps.setdefault(task.app, {})[task.id] = task
            return
        known = self._apps.get(task.app, {})
        known.pop(task.id, None)
        if not known:
            self._apps.pop(task.app, None)
