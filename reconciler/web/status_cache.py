"""The status of the host, cached for all clients and read again when something changed.

SQLite reports cheaply whether anything was written (PRAGMA data_version), so following a host where nothing happens
costs almost nothing.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from reconciler.inspection.backups import BackupRow, backups
from reconciler.inspection.releases import Release, releases, source_lines
from reconciler.inspection.rollback import rollback_target
from reconciler.inspection.snapshot import HostSnapshot
from reconciler.inspection.status import status as status_of
from reconciler.linux import process_table
from reconciler.linux.dataclass import dataclass
from reconciler.metrics.instance_processes import RunningInstance, running_instances
from reconciler.metrics.load_history import Load, Loads
from reconciler.planning.subject import Subject
from reconciler.planning.tasks.task import Task
from reconciler.settings.settings import Settings
from reconciler.state.journal import Event, Journal
from reconciler.state.schema import OtherVersion, open_database

_FRESH_S = 0.5
_STALE_S = 5.0


class StateUnreadable(Exception):
    """Why the state directory cannot be read at the moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """`facts` of the host, as `status --json` prints them, and the load of each running app.

    `up_s` is how long the daemon has run, None when none does; `last_event` is the newest event's number.
    """

    facts: Mapping[str, Any]
    loads: Mapping[str, Load]
    up_s: float | None
    last_event: int

    @property
    def apps(self) -> Sequence[Mapping[str, Any]]:
        rows: Sequence[Mapping[str, Any]] = self.facts["apps"]
        return rows

    def app(self, name: str) -> Mapping[str, Any] | None:
        """Return one app's row, None without such an app."""
        return next((row for row in self.apps if row["name"] == name), None)


class StatusCache:
    """Status and events of one state directory; its methods raise StateUnreadable."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._loads = Loads(settings.paths)
        self._database: sqlite3.Connection | None = None
        self._version = -1
        self._read_at = float("-inf")
        self._status: Status | None = None
        self._reading: asyncio.Task[Status] | None = None

    async def now(self) -> Status:
        """Return the status, no older than half a second; the same object while nothing changes."""
        age_s = time.monotonic() - self._read_at
        if self._status is not None and (age_s < _FRESH_S or (age_s < _STALE_S and not self._has_changed())):
            return self._status
        if self._reading is None:
            self._version = self._read_version()
            self._reading = asyncio.create_task(asyncio.to_thread(self._read))
            self._reading.add_done_callback(self._on_read)
        return await asyncio.shield(self._reading)

    def require_readable(self) -> None:
        """Raise StateUnreadable if the database cannot be opened, which is found out at once."""
        with _state_readable(self.settings):
            self._open().execute("PRAGMA data_version").fetchone()

    async def events(self, subject: Subject | None, count: int, after: int = 0) -> Sequence[Event]:
        """Return the newest events with an id over `after`, of one subject or of all, the oldest of them first."""
        return await asyncio.to_thread(self._events, subject, count, after)

    async def rollback_target(self, app: Mapping[str, Any]) -> str | None:
        """Return the id of the revision to which a rollback of an app would go; None if there is none."""
        return await asyncio.to_thread(self._rollback_target, app)

    async def releases(self, app: str) -> Sequence[Release]:
        """Return the releases of an app, the newest first."""
        return await asyncio.to_thread(self._releases, app)

    async def tasks(self, app: str | None, most: int, schedule: str | None = None) -> Sequence[Task]:
        """Return the newest tasks of an app or of all, of a schedule or of any, the newest first."""
        return await asyncio.to_thread(self._tasks, app, most, schedule)

    async def task(self, task: str) -> Task | None:
        """Return a task by its whole id, None if none is on record."""
        return await asyncio.to_thread(self._task, task)

    async def source_lines(self, app: str, release: Release, most: int) -> list[str] | None:
        """Return the first lines of a release's difference in source, redacted; None if a build is not kept."""
        return await asyncio.to_thread(self._source_lines, app, release, most)

    async def instances(self, app: str) -> Sequence[RunningInstance]:
        """Return the running instances of an app with their processes."""
        return await asyncio.to_thread(self._instances, app)

    async def backups(self, service: str) -> Sequence[BackupRow]:
        """Return the backups of a service, the newest first."""
        return await asyncio.to_thread(self._backups, service)

    def _on_read(self, task: "asyncio.Task[Status]") -> None:
        self._reading = None
        if not task.cancelled() and task.exception() is None:
            self._status, self._read_at = task.result(), time.monotonic()

    def _has_changed(self) -> bool:
        return self._read_version() != self._version

    def _read_version(self) -> int:
        """Return a number that changes with the database; a new one each time when that cannot be known."""
        try:
            (version,) = self._open().execute("PRAGMA data_version").fetchone()
        except (sqlite3.Error, OtherVersion):
            if self._database is not None:
                self._database.close()
                self._database = None
            return self._version - 1
        return int(version)

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = open_database(self.settings.paths.database, read_only=True)
        return self._database

    def _read(self) -> Status:
        with self._snapshot() as snapshot:
            status = status_of(snapshot)
            loads = self._loads.measure(snapshot)
        newest = self._events(None, 1, 0)
        return Status(
            facts=status.facts(),
            loads=loads,
            up_s=process_table.age_s(status.daemon) if status.daemon else None,
            last_event=newest[-1].id if newest else 0,
        )

    def _rollback_target(self, app: Mapping[str, Any]) -> str | None:
        with self._snapshot() as snapshot:
            return rollback_target(snapshot, str(app["name"]), str(app["wanted_revision"] or app["revision"] or ""))

    def _releases(self, app: str) -> Sequence[Release]:
        with self._snapshot() as snapshot:
            return releases(snapshot, app)

    def _tasks(self, app: str | None, most: int, schedule: str | None) -> Sequence[Task]:
        with self._snapshot() as snapshot:
            return snapshot.records.task_log.newest(app, most, schedule=schedule)

    def _task(self, task: str) -> Task | None:
        with self._snapshot() as snapshot:
            return next((each for each in snapshot.records.task_log.find(task) if each.id == task), None)

    def _source_lines(self, app: str, release: Release, most: int) -> list[str] | None:
        with self._snapshot() as snapshot:
            lines = source_lines(snapshot, self.settings, app, release)
            return None if lines is None else [*islice(lines, most)]

    def _instances(self, app: str) -> Sequence[RunningInstance]:
        with self._snapshot() as snapshot:
            return running_instances(snapshot, [app])

    def _backups(self, service: str) -> Sequence[BackupRow]:
        with self._snapshot() as snapshot:
            return backups(snapshot, service)

    def _events(self, subject: Subject | None, count: int, after: int) -> Sequence[Event]:
        with (
            _state_readable(self.settings),
            contextlib.closing(open_database(self.settings.paths.database, read_only=True)) as database,
        ):
            return Journal(database).newest(subject, count, after)

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[HostSnapshot]:
        with _state_readable(self.settings), contextlib.closing(HostSnapshot(self.settings.paths)) as snapshot:
            yield snapshot


@contextlib.contextmanager
def _state_readable(settings: Settings) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, OtherVersion) as error:
        raise StateUnreadable(f"cannot read {settings.paths.state}: {error}") from error
