"""How the state database of an older version becomes one of this: forward only, and a copy of the old one is kept.

Each step is one transaction that also moves the version on, so that whatever interrupts it, the database is of one
version or of the next, and the next opening goes on from there.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from reconciler.linux.files import replacing

_INSTANCE = """
CREATE TABLE instance (
    id TEXT PRIMARY KEY, app TEXT NOT NULL, revision TEXT NOT NULL, build TEXT NOT NULL,
    host TEXT NOT NULL, port INTEGER NOT NULL, boot TEXT NOT NULL, started_at REAL NOT NULL,
    stop_timeout_s REAL NOT NULL, workers INTEGER NOT NULL, pid INTEGER, ticks INTEGER,
    ready_at REAL, stopping_since REAL
) WITHOUT ROWID
"""


def _give_one_shape_to_all_of_version_1(database: sqlite3.Connection) -> None:
    """Before the first release the shape was changed without a new number: what is missing is added."""
    if "ready" in {row[1] for row in database.execute("PRAGMA table_info(instance)")}:
        database.execute("ALTER TABLE instance RENAME TO instance_of_1")
        database.execute(_INSTANCE)
        database.execute(
            "INSERT INTO instance SELECT id, app, revision, build, host, port, boot, started_at, stop_timeout_s,"
            " workers, pid, ticks, CASE WHEN ready THEN started_at END, stopping_since FROM instance_of_1"
        )
        database.execute("DROP TABLE instance_of_1")
    database.execute("DROP TABLE IF EXISTS crash")
    database.execute(
        "CREATE TABLE IF NOT EXISTS history (app TEXT, what TEXT, value TEXT NOT NULL, PRIMARY KEY (app, what))"
        " WITHOUT ROWID"
    )
    database.execute(
        "CREATE TABLE IF NOT EXISTS release (app TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (app, id)) WITHOUT ROWID"
    )


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


def _give_events_subjects_and_reasons(database: sqlite3.Connection) -> None:
    """Version 2 made the tables of services beside the schema, and named a service by a prefix."""
    for statement in _SERVICES_OF_2.split(";"):
        database.execute(statement)
    database.execute("ALTER TABLE event RENAME COLUMN app TO name")
    database.execute("ALTER TABLE event ADD COLUMN subject TEXT NOT NULL DEFAULT 'app'")
    database.execute("ALTER TABLE event ADD COLUMN reason TEXT NOT NULL DEFAULT ''")
    database.execute("UPDATE event SET subject = 'host' WHERE name = ''")
    database.execute("UPDATE event SET subject = 'service', name = substr(name, 9) WHERE name LIKE 'service %'")
    for before, after in _KINDS_OF_2.items():
        database.execute("UPDATE event SET kind = ? WHERE kind = ?", (after, before))
    database.execute("DROP INDEX event_of_app")
    database.execute("CREATE INDEX event_of_subject ON event (subject, name, kind)")
    database.execute("ALTER TABLE standing ADD COLUMN reason TEXT NOT NULL DEFAULT ''")
    database.execute("ALTER TABLE service_standing ADD COLUMN reason TEXT NOT NULL DEFAULT ''")


def _add_directories_of_instances(database: sqlite3.Connection) -> None:
    """Let the directory of an instance have another name than its revision; without one it has the same."""
    database.execute("ALTER TABLE instance ADD COLUMN directory TEXT")


# The first leads from version 1 to 2. What was released is never changed: a new shape is a new step at the end.
_STEPS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _give_one_shape_to_all_of_version_1,
    _give_events_subjects_and_reasons,
    _add_directories_of_instances,
)
NEWEST = 1 + len(_STEPS)


def version_of(database: sqlite3.Connection) -> int:
    """The version of a database's shape; 0 is an empty one's."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    return int(version)


def migrate(database: sqlite3.Connection, file: Path) -> None:
    """Bring an older database up to this version, its file copied first. Raises sqlite3.Error.

    Call it as the only one who writes there.
    """
    version = version_of(database)
    if version < NEWEST:
        try:
            _keep_copy(database, copy_of(file, version))
        except OSError as error:
            raise sqlite3.OperationalError(
                f"it is of an older version, and no copy can be kept of it: {error}"
            ) from error
    for number in range(version, NEWEST):
        database.execute("BEGIN IMMEDIATE")
        try:
            _STEPS[number - 1](database)
            database.execute(f"PRAGMA user_version={number + 1}")
        except BaseException:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")


def copy_of(file: Path, version: int) -> Path:
    """Where a database is copied to before it leaves a version."""
    return file.with_name(f"{file.name}.version-{version}")


def _keep_copy(database: sqlite3.Connection, copy: Path) -> None:
    """Either the whole copy is there under its name or none; what is in it is for its owner alone."""
    with replacing(copy) as draft:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with contextlib.closing(sqlite3.connect(draft)) as opened:
            database.backup(opened)
            opened.execute("PRAGMA journal_mode=DELETE")  # all in one file
