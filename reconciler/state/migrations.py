"""Upgrade the state database of an older version, step by step, after copying it.

Each step is one transaction that also sets the version, so a kill leaves the database at one version or the next, and
opening it again continues from there.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

_SERVICES_OF_2 = """
CREATE TABLE IF NOT EXISTS vault (id TEXT PRIMARY KEY, box BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS service (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, server TEXT, plan TEXT NOT NULL, asked BLOB,
    retain INTEGER NOT NULL, grace_s REAL NOT NULL, made TEXT NOT NULL, boot TEXT, left_at REAL, dumped INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS service_grant (
    id TEXT PRIMARY KEY, number INTEGER NOT NULL, service TEXT NOT NULL, app TEXT NOT NULL, user TEXT NOT NULL,
    password BLOB NOT NULL, parameters BLOB, parameters_id TEXT NOT NULL, credentials TEXT, due TEXT, retiring TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS service_use (
    app TEXT NOT NULL, revision TEXT NOT NULL, service_grant TEXT NOT NULL, PRIMARY KEY (app, revision, service_grant)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS service_standing (
    name TEXT PRIMARY KEY, state TEXT NOT NULL, message TEXT NOT NULL, since REAL NOT NULL, next_try_at REAL,
    size INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS env_file (
    app TEXT NOT NULL, path TEXT NOT NULL, values_of TEXT NOT NULL, PRIMARY KEY (app, path)
) WITHOUT ROWID
"""
_KINDS_OF_2 = {
    "wish": "request", "unwell": "unhealthy", "well": "healthy", "asleep": "sleeping", "died": "exited",
}  # fmt: skip


_EVENT_OF_3 = """
CREATE TABLE event (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, subject TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL,
    text TEXT NOT NULL, cause TEXT NOT NULL, reason TEXT NOT NULL
)
"""


def _add_subjects_reasons_and_directories(database: sqlite3.Connection) -> None:
    """Replace the prefix "service " of event.app by a subject; take in the tables of services.

    Version 2 created these beside its schema, when they were first needed. The directory of an instance has the name of
    its revision where none is recorded.
    """
    for statement in _SERVICES_OF_2.split(";"):
        database.execute(statement)
    database.execute("DROP INDEX event_of_app")
    database.execute("ALTER TABLE event RENAME TO event_of_2")
    database.execute(_EVENT_OF_3)
    database.execute(
        "INSERT INTO event SELECT id, at,"
        " CASE WHEN app = '' THEN 'host' WHEN app LIKE 'service %' THEN 'service' ELSE 'app' END,"
        " CASE WHEN app LIKE 'service %' THEN substr(app, 9) ELSE app END, kind, text, cause, '' FROM event_of_2"
    )
    database.execute("DROP TABLE event_of_2")
    for before, after in _KINDS_OF_2.items():
        database.execute("UPDATE event SET kind = ? WHERE kind = ?", (after, before))
    database.execute("CREATE INDEX event_of_subject ON event (subject, name, kind)")
    database.execute("ALTER TABLE standing ADD COLUMN reason TEXT NOT NULL DEFAULT ''")
    database.execute("ALTER TABLE service_standing ADD COLUMN reason TEXT NOT NULL DEFAULT ''")
    database.execute("ALTER TABLE instance ADD COLUMN directory TEXT")


_APP_RELEASE_OF_4 = """
CREATE TABLE app_release (
    app TEXT NOT NULL, number INTEGER NOT NULL, revision TEXT NOT NULL, build TEXT NOT NULL, at REAL NOT NULL,
    reason TEXT NOT NULL, initiator TEXT NOT NULL, requested_by TEXT NOT NULL, previous TEXT NOT NULL,
    previous_build TEXT NOT NULL, changes TEXT NOT NULL, files TEXT NOT NULL, served_at REAL, served_until REAL,
    failures INTEGER NOT NULL, failure TEXT NOT NULL, failed_at REAL, PRIMARY KEY (app, number)
) WITHOUT ROWID
"""


def _add_releases(database: sqlite3.Connection) -> None:
    """Add the table of releases, which has none of what was deployed before."""
    database.execute(_APP_RELEASE_OF_4)


def _add_commits_of_releases(database: sqlite3.Connection) -> None:
    """Let a release have the commit that it came with, which is not known of those of before."""
    for column in ("git_commit", "git_subject"):
        database.execute(f"ALTER TABLE app_release ADD COLUMN {column} TEXT NOT NULL DEFAULT ''")


def _add_processes(database: sqlite3.Connection) -> None:
    """Let an instance be one of a process that is not web; every one of before is of a web server."""
    text, number = "TEXT NOT NULL DEFAULT ''", "INTEGER NOT NULL DEFAULT 0"
    columns = {"process": text, "slot": number, "version": text, "stop": text, "steps": number}
    for column, kind in columns.items():
        database.execute(f"ALTER TABLE instance ADD COLUMN {column} {kind}")


_TASK_OF_7 = """
CREATE TABLE task (
    id TEXT PRIMARY KEY, app TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, command TEXT NOT NULL,
    state TEXT NOT NULL, owed_at REAL NOT NULL, timeout_s REAL NOT NULL, cause TEXT NOT NULL, asked_by TEXT NOT NULL,
    schedule TEXT NOT NULL, fingerprint TEXT NOT NULL, planned_at REAL, attempt INTEGER NOT NULL, wanted TEXT NOT NULL,
    revision TEXT NOT NULL, build TEXT NOT NULL, boot TEXT NOT NULL, pid INTEGER, ticks INTEGER, attached TEXT NOT NULL,
    started_at REAL, told_at REAL, cancelled_by TEXT NOT NULL, ended_at REAL, took_s REAL, code INTEGER, signal INTEGER,
    ending TEXT NOT NULL, peak_memory INTEGER, log_size INTEGER, said TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX task_of_app ON task (app, owed_at);
CREATE INDEX open_task ON task (state) WHERE state IN ('owed', 'running');
CREATE UNIQUE INDEX occurrence ON task (app, schedule, fingerprint, planned_at, attempt) WHERE planned_at IS NOT NULL
"""


def _add_tasks(database: sqlite3.Connection) -> None:
    """Add the table of tasks."""
    for statement in _TASK_OF_7.split(";"):
        database.execute(statement)


_SCHEDULE_OF_8 = """
CREATE TABLE schedule (
    app TEXT NOT NULL, name TEXT NOT NULL, history TEXT NOT NULL, PRIMARY KEY (app, name)
) WITHOUT ROWID
"""


def _add_schedules(database: sqlite3.Connection) -> None:
    """Add the histories of schedules, and what they have to know of a task."""
    database.execute(_SCHEDULE_OF_8)
    database.execute("ALTER TABLE task ADD COLUMN made_up INTEGER NOT NULL DEFAULT 0")
    database.execute("ALTER TABLE task ADD COLUMN started_monotonic REAL")


def _add_processes_of_events(database: sqlite3.Connection) -> None:
    """Add the process that an event is about, which events of before do not name."""
    database.execute("ALTER TABLE event ADD COLUMN process TEXT NOT NULL DEFAULT ''")


def _add_isolation(database: sqlite3.Connection) -> None:
    """Add what keeps an instance apart: nothing does any of before."""
    database.execute("ALTER TABLE instance ADD COLUMN isolation TEXT NOT NULL DEFAULT ''")


def _add_ports_beside_sockets(database: sqlite3.Connection) -> None:
    """Let an instance listen at a port beside its socket: none of before does."""
    database.execute("ALTER TABLE instance ADD COLUMN beside TEXT NOT NULL DEFAULT ''")


# A change of the schema is one step more, at the end; a step that was released never changes.
OLDEST = 2
_STEPS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _add_subjects_reasons_and_directories,
    _add_releases,
    _add_commits_of_releases,
    _add_processes,
    _add_tasks,
    _add_schedules,
    _add_processes_of_events,
    _add_isolation,
    _add_ports_beside_sockets,
)
NEWEST = OLDEST + len(_STEPS)


def version_of(database: sqlite3.Connection) -> int:
    """Return the version of a database's schema, 0 if it is empty."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    return int(version)


def migrate(database: sqlite3.Connection, file: Path) -> None:
    """Upgrade a database from OLDEST or later, after copying its file. Raises sqlite3.Error.

    The caller must be the only process that writes to it.
    """
    version = version_of(database)
    if version < NEWEST:
        try:
            _keep_copy(database, copy_of(file, version))
        except OSError as error:
            raise sqlite3.OperationalError(f"cannot copy the database before upgrading it: {error}") from error
    for number in range(version, NEWEST):
        database.execute("BEGIN IMMEDIATE")
        try:
            _STEPS[number - OLDEST](database)
            database.execute(f"PRAGMA user_version={number + 1}")
        except BaseException:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")


def copy_of(file: Path, version: int) -> Path:
    """Return the path that a database of a version is copied to before its upgrade."""
    return file.with_name(f"{file.name}.version-{version}")


def _keep_copy(database: sqlite3.Connection, copy: Path) -> None:
    """Write the copy, readable by its owner only, and rename it into place once it is on the disk."""
    from reconciler.linux.files import replacing  # a database of this version needs no copy

    with replacing(copy) as draft:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with contextlib.closing(sqlite3.connect(draft)) as opened:
            database.backup(opened)
            opened.execute("PRAGMA journal_mode=DELETE")  # all in one file
