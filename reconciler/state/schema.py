"""The state database's tables, and how it is opened: created, migrated, or begun again when damaged.

Every table is under one version, and a database is used at this version only.
"""

import contextlib
import os
import re
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from reconciler.linux.regular_files import read_own
from reconciler.state.database import Database
from reconciler.state.migrations import NEWEST, OLDEST, migrate, version_of

_STATE_ID = "id"
_LONGEST_ID = 64
_STATE_MARK = "RECONCILER_STATE_ID"


# A change here needs a migration that leads to it.
_SCHEMA = """
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE lease (app TEXT PRIMARY KEY, port INTEGER NOT NULL UNIQUE) WITHOUT ROWID;
CREATE TABLE manifest (file TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE source (app TEXT PRIMARY KEY, path TEXT NOT NULL, pinned TEXT NOT NULL, content TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE instance (
    id TEXT PRIMARY KEY, app TEXT NOT NULL, revision TEXT NOT NULL, build TEXT NOT NULL,
    host TEXT NOT NULL, port INTEGER NOT NULL, boot TEXT NOT NULL, started_at REAL NOT NULL,
    stop_timeout_s REAL NOT NULL, workers INTEGER NOT NULL, pid INTEGER, ticks INTEGER,
    ready_at REAL, stopping_since REAL, directory TEXT, process TEXT NOT NULL DEFAULT '',
    slot INTEGER NOT NULL DEFAULT 0, version TEXT NOT NULL DEFAULT '', stop TEXT NOT NULL DEFAULT '',
    steps INTEGER NOT NULL DEFAULT 0, isolation TEXT NOT NULL DEFAULT '', beside TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE history (app TEXT, what TEXT, value TEXT NOT NULL, PRIMARY KEY (app, what)) WITHOUT ROWID;
CREATE TABLE standing (
    app TEXT PRIMARY KEY, state TEXT NOT NULL, message TEXT NOT NULL, wanted TEXT, since REAL NOT NULL,
    next_try_at REAL, reason TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE event (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, subject TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL,
    text TEXT NOT NULL, cause TEXT NOT NULL, reason TEXT NOT NULL, process TEXT NOT NULL DEFAULT ''
);
CREATE INDEX event_of_subject ON event (subject, name, kind);
CREATE TABLE release (app TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (app, id)) WITHOUT ROWID;
CREATE TABLE app_release (
    app TEXT NOT NULL, number INTEGER NOT NULL, revision TEXT NOT NULL, build TEXT NOT NULL, at REAL NOT NULL,
    reason TEXT NOT NULL, initiator TEXT NOT NULL, requested_by TEXT NOT NULL, previous TEXT NOT NULL,
    previous_build TEXT NOT NULL, changes TEXT NOT NULL, files TEXT NOT NULL, served_at REAL, served_until REAL,
    failures INTEGER NOT NULL, failure TEXT NOT NULL, failed_at REAL, git_commit TEXT NOT NULL DEFAULT '',
    git_subject TEXT NOT NULL DEFAULT '', PRIMARY KEY (app, number)
) WITHOUT ROWID;
CREATE TABLE vault (id TEXT PRIMARY KEY, box BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE service (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, server TEXT, plan TEXT NOT NULL, asked BLOB,
    retain INTEGER NOT NULL, grace_s REAL NOT NULL, made TEXT NOT NULL, boot TEXT, left_at REAL, dumped INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE service_grant (
    id TEXT PRIMARY KEY, number INTEGER NOT NULL, service TEXT NOT NULL, app TEXT NOT NULL, user TEXT NOT NULL,
    password BLOB NOT NULL, parameters BLOB, parameters_id TEXT NOT NULL, credentials TEXT, due TEXT, retiring TEXT
) WITHOUT ROWID;
CREATE TABLE service_use (
    app TEXT NOT NULL, revision TEXT NOT NULL, service_grant TEXT NOT NULL, PRIMARY KEY (app, revision, service_grant)
) WITHOUT ROWID;
CREATE TABLE service_standing (
    name TEXT PRIMARY KEY, state TEXT NOT NULL, message TEXT NOT NULL, since REAL NOT NULL, next_try_at REAL,
    size INTEGER, reason TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE env_file (
    app TEXT NOT NULL, path TEXT NOT NULL, values_of TEXT NOT NULL, PRIMARY KEY (app, path)
) WITHOUT ROWID;
CREATE TABLE task (
    id TEXT PRIMARY KEY, app TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, command TEXT NOT NULL,
    state TEXT NOT NULL, owed_at REAL NOT NULL, timeout_s REAL NOT NULL, cause TEXT NOT NULL, asked_by TEXT NOT NULL,
    schedule TEXT NOT NULL, fingerprint TEXT NOT NULL, planned_at REAL, attempt INTEGER NOT NULL, wanted TEXT NOT NULL,
    revision TEXT NOT NULL, build TEXT NOT NULL, boot TEXT NOT NULL, pid INTEGER, ticks INTEGER, attached TEXT NOT NULL,
    started_at REAL, told_at REAL, cancelled_by TEXT NOT NULL, ended_at REAL, took_s REAL, code INTEGER, signal INTEGER,
    ending TEXT NOT NULL, peak_memory INTEGER, log_size INTEGER, said TEXT NOT NULL,
    made_up INTEGER NOT NULL DEFAULT 0, started_monotonic REAL
) WITHOUT ROWID;
CREATE INDEX task_of_app ON task (app, owed_at);
CREATE INDEX open_task ON task (state) WHERE state IN ('owed', 'running');
CREATE UNIQUE INDEX occurrence ON task (app, schedule, fingerprint, planned_at, attempt) WHERE planned_at IS NOT NULL;
CREATE TABLE schedule (
    app TEXT NOT NULL, name TEXT NOT NULL, history TEXT NOT NULL, PRIMARY KEY (app, name)
) WITHOUT ROWID;
"""


class OtherVersion(Exception):
    """The state directory was written by a reconciler of another version; says how to go on."""


def open_database(file: Path, *, read_only: bool = False, at_once: bool = False, upgrade: bool = False) -> Database:
    """Open the state database, creating it unless `read_only`. Raises OtherVersion if it cannot be used as it is.

    A reader that is done `at_once` makes no file beside a database that no process has open, so that root can read that
    of another user and leaves nothing of its own.
    Only the daemon, or a command that has made sure that no daemon runs, may `upgrade` an older one. Raises
    sqlite3.Error if SQLite cannot open it.
    """
    if read_only:
        database = _open_to_read(file, at_once=at_once)
    else:
        database = sqlite3.connect(file, isolation_level=None, timeout=5, factory=Database)
        file.chmod(0o600)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute("PRAGMA wal_autocheckpoint=400")
        database.execute("PRAGMA cache_size=-128")  # KiB: what is read often is cached by its readers
    try:
        _make_current(database, file, read_only=read_only, upgrade=upgrade)
    except BaseException:
        database.close()
        raise
    return database


def _make_current(database: Database, file: Path, *, read_only: bool, upgrade: bool) -> None:
    version = version_of(database)
    if version == 0 and not upgrade and (file.parent / _STATE_ID).exists():
        raise sqlite3.OperationalError("it was cut to nothing; 'reconciler run' makes it again from what runs")
    if version == 0 and not read_only:
        database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={NEWEST}; COMMIT;")
    elif version > NEWEST:
        raise OtherVersion(f"{file} was written by a newer reconciler (schema {version}); upgrade this one")
    elif 0 < version < OLDEST:
        raise OtherVersion(
            f"{file} was written by a reconciler too old to upgrade from (schema {version}, the oldest is {OLDEST});"
            " move the state directory away to start afresh"
        )
    elif 0 < version < NEWEST and upgrade:
        migrate(database, file)
    elif 0 < version < NEWEST:
        raise OtherVersion(
            f"{file} was written by an older reconciler (schema {version}, here it is {NEWEST});"
            " restart the daemon, or run 'reconciler apply', to bring it up to date"
        )


def _open_to_read(file: Path, *, at_once: bool) -> Database:
    """Open without shared memory on a read-only file system: SQLite cannot count readers there, and need not."""
    unwritable = file.parent.exists() and bool(os.statvfs(file.parent).f_flag & os.ST_RDONLY)
    unshared = unwritable and not file.with_name(f"{file.name}-shm").exists()
    unopened = at_once and not file.with_name(f"{file.name}-wal").exists()
    uri = f"{file.as_uri()}?mode=ro{'&immutable=1' if unshared or unopened else ''}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5, factory=Database)


def open_or_rebuild(file: Path) -> tuple[Database, bool]:
    """Open the state database, or move a damaged one aside and create a new one; True if something was lost.

    An older one is upgraded. What was lost is found again: apps in the manifests, instances in the process table.
    Raises OtherVersion.
    """
    try:
        rebuilt = (file.parent / _STATE_ID).exists() and _is_empty(file)
        database = open_database(file, upgrade=True)
        if database.execute("PRAGMA quick_check(1)").fetchone() == ("ok",):
            return database, rebuilt
        database.close()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        pass
    aside = f"{file.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    for name in (file.name, f"{file.name}-wal", f"{file.name}-shm"):
        with contextlib.suppress(FileNotFoundError):
            file.with_name(name).rename(file.with_name(name.replace(file.name, aside)))
    return open_database(file, upgrade=True), True


def _is_empty(file: Path) -> bool:
    """Return whether a state database is missing or holds no table, as when it was cut to nothing."""
    if not file.exists():
        return True
    with contextlib.closing(sqlite3.connect(file, timeout=5)) as database:
        return version_of(database) == 0


def state_id(state: Path) -> str:
    """Return the id that marks the processes of this state directory, generating it once.

    It lies beside the database, so that it outlives it. Raises OSError if it is damaged: with another one, nothing that
    runs would be recognised.
    """
    file = state / _STATE_ID
    with contextlib.suppress(FileNotFoundError):
        known = read_own(file, _LONGEST_ID).strip()
        if re.fullmatch(rb"[0-9a-f]{16}", known):
            return known.decode()
        if known:
            raise OSError(
                f"{file} is damaged: it must hold the 16 hexadecimal digits that {_STATE_MARK} says in the environment"
                " of every running app; write them there, or remove the file if no app is running"
            )
    generated = os.urandom(8).hex()
    draft = file.with_suffix(".draft")
    draft.write_text(generated, encoding="ascii")
    draft.replace(file)
    return generated
