"""What must outlive the daemon, in one SQLite database: leases, instances, crashes, sources, last good manifests.

Every write is one transaction; a write that must survive a power cut says so. What a record claims about a process is
only ever a hint: the process table has the last word.
"""

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from reconciler.linux.files import replace_file
from reconciler.planning.desired import Address, Source
from reconciler.state.database import Database
from reconciler.state.migrations import NEWEST, migrate, version_of

_STATE_ID = "id"
NO_ADDRESS = Address(host="", port=0)  # of an instance that listens nowhere; the columns are not null

# Whoever changes it adds a migration that leads there.
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
    ready_at REAL, stopping_since REAL, directory TEXT
) WITHOUT ROWID;
CREATE TABLE history (app TEXT, what TEXT, value TEXT NOT NULL, PRIMARY KEY (app, what)) WITHOUT ROWID;
CREATE TABLE standing (
    app TEXT PRIMARY KEY, state TEXT NOT NULL, message TEXT NOT NULL, wanted TEXT, since REAL NOT NULL,
    next_try_at REAL, reason TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE event (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, subject TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL,
    text TEXT NOT NULL, cause TEXT NOT NULL, reason TEXT NOT NULL
);
CREATE INDEX event_of_subject ON event (subject, name, kind);
CREATE TABLE release (app TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (app, id)) WITHOUT ROWID;
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
"""


class OtherVersion(Exception):
    """The state directory was written by a reconciler of another version, and how to go on."""


def open_database(file: Path, *, read_only: bool = False, upgrade: bool = False) -> Database:
    """Open the state database, creating it when it may be written; raises OtherVersion or sqlite3.Error.

    Only who ended the daemon, or is it, may `upgrade` one of an older version.
    """
    if read_only:
        database = _open_to_read(file)
    else:
        database = sqlite3.connect(file, isolation_level=None, timeout=5, factory=Database)
        file.chmod(0o600)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute("PRAGMA wal_autocheckpoint=400")
        database.execute("PRAGMA cache_size=-512")  # KiB: what is read often, we remember ourselves
    try:
        _make_current(database, file, read_only=read_only, upgrade=upgrade)
    except BaseException:
        database.close()
        raise
    return database


def _make_current(database: Database, file: Path, *, read_only: bool, upgrade: bool) -> None:
    version = version_of(database)
    if version == 0 and not read_only:
        database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={NEWEST}; COMMIT;")
    elif version > NEWEST:
        raise OtherVersion(f"{file} was written by a newer reconciler (schema {version}); upgrade this one")
    elif 0 < version < NEWEST and upgrade:
        migrate(database, file)
    elif 0 < version < NEWEST:
        raise OtherVersion(
            f"{file} was written by an older reconciler (schema {version}, here it is {NEWEST});"
            " restart the daemon, or run 'reconciler apply', to bring it up to date"
        )


def _open_to_read(file: Path) -> Database:
    """Where nothing can be written SQLite cannot keep count of readers: nobody writes there, so none is needed."""
    unwritable = file.parent.exists() and bool(os.statvfs(file.parent).f_flag & os.ST_RDONLY)
    unshared = unwritable and not file.with_name(f"{file.name}-shm").exists()
    place = f"{file.as_uri()}?mode=ro{'&immutable=1' if unshared else ''}"
    return sqlite3.connect(place, uri=True, isolation_level=None, timeout=5, factory=Database)


def open_or_rebuild(file: Path) -> tuple[Database, bool]:
    """Open the state database, or put a damaged one aside and begin a new one; True when something was lost.

    One of an older version is brought up to date. What is lost is found again: apps in the manifests, instances in the
    process table. Raises OtherVersion.
    """
    known = (file.parent / _STATE_ID).exists()
    rebuilt = known and not file.exists()
    try:
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
    return open_database(file), True


def state_id(state: Path) -> str:
    """What marks the processes of this state directory: drawn once, and kept apart from the database, to outlive it."""
    place = state / _STATE_ID
    with contextlib.suppress(FileNotFoundError):
        known = place.read_text(encoding="ascii").strip()
        if known:
            return known
    drawn = secrets.token_hex(8)
    replace_file(place, drawn)
    return drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRecord:
    """An instance, started or about to be. `started_at`, `ready_at`, `stopping_since`: monotonic seconds of `boot`."""

    id: str
    app: str
    revision: str
    build: str
    address: Address
    boot: str
    started_at: float
    stop_timeout_s: float
    workers: int
    pid: int | None = None
    ticks: int | None = None
    ready_at: float | None = None
    stopping_since: float | None = None
    directory: str | None = None

    @property
    def directory_name(self) -> str:
        """The name of its directory below the app's revisions: that of its revision unless it was recorded."""
        return self.directory or self.revision


@dataclass(frozen=True, slots=True, kw_only=True)
class AppStatus:
    """How an app stood when it was last told. `since` and `next_try_at` are wall-clock seconds."""

    state: str
    message: str
    wanted: str | None
    since: float
    next_try_at: float | None
    reason: str = ""


class Records:
    """Typed reading and writing of the state database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextlib.contextmanager
    def lasting(self) -> Iterator[None]:
        """Writes inside survive a power cut, at the cost of waiting for the disk."""
        self._database.execute("PRAGMA synchronous=FULL")
        try:
            with self.together():
                yield
        finally:
            self._database.execute("PRAGMA synchronous=NORMAL")

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Writes inside are one transaction."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def fact(self, name: str) -> str | None:
        """A single remembered value, None when it was never set."""
        row = self._database.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_fact(self, name: str, value: str) -> None:
        """Remember a single value."""
        self._database.write(("fact", name), "INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))

    def leases(self) -> dict[str, int]:
        """The port leased to each app."""
        return dict(self._database.execute("SELECT app, port FROM lease"))

    def replace_leases(self, leases: Mapping[str, int]) -> None:
        """Hold exactly these leases; call it inside `lasting`."""
        self._database.execute("DELETE FROM lease")
        self._database.executemany("INSERT INTO lease VALUES (?, ?)", sorted(leases.items()))

    def manifests(self) -> dict[str, bytes]:
        """The last good content of each manifest file."""
        return dict(self._database.execute("SELECT file, content FROM manifest"))

    def replace_manifests(self, changed: Mapping[str, bytes | None]) -> None:
        """Remember the last good content of files; None forgets one."""
        for file, content in changed.items():
            if content is None:
                self._database.execute("DELETE FROM manifest WHERE file = ?", (file,))
            else:
                self._database.execute("INSERT OR REPLACE INTO manifest VALUES (?, ?)", (file, content))

    def sources(self) -> dict[str, tuple[Source, str]]:
        """For each app the source that was last read, and its fingerprint then."""
        rows = self._database.execute("SELECT app, path, pinned, content FROM source")
        return {app: (Source(path=path, pinned=pinned), content) for app, path, pinned, content in rows}

    def set_source(self, app: str, source: Source, content: str) -> None:
        """Remember the fingerprint of an app's source."""
        row = (app, source.path, source.pinned, content)
        self._database.write(("source", app), "INSERT OR REPLACE INTO source VALUES (?, ?, ?, ?)", row)

    def instances(self) -> list[InstanceRecord]:
        """Every instance on record, of whatever boot."""
        rows = self._database.execute(
            "SELECT id, app, revision, build, host, port, boot, started_at, stop_timeout_s, workers, pid, ticks,"
            " ready_at, stopping_since, directory FROM instance ORDER BY started_at, id"
        )
        return [
            InstanceRecord(
                id=row[0], app=row[1], revision=row[2], build=row[3], address=Address(host=row[4], port=row[5]),
                boot=row[6], started_at=row[7], stop_timeout_s=row[8], workers=row[9], pid=row[10], ticks=row[11],
                ready_at=row[12], stopping_since=row[13], directory=row[14],
            )
            for row in rows
        ]  # fmt: skip

    def put_instance(self, record: InstanceRecord) -> None:
        """Write an instance's record, new or changed."""
        address = record.address
        self._database.write(
            ("instance", record.id),
            "INSERT OR REPLACE INTO instance VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record.id, record.app, record.revision, record.build, address.host, address.port, record.boot,
                record.started_at, record.stop_timeout_s, record.workers, record.pid, record.ticks,
                record.ready_at, record.stopping_since, record.directory,
            ),
        )  # fmt: skip

    def drop_instance(self, instance: str) -> None:
        """Forget an instance."""
        self._database.write(("instance", instance), "DELETE FROM instance WHERE id = ?", (instance,))

    def histories(self) -> dict[tuple[str, str], str]:
        """What was learnt about apps, as JSON, by app and subject."""
        rows = self._database.execute("SELECT app, what, value FROM history")
        return {(app, what): value for app, what, value in rows}

    def set_history(self, app: str, what: str, value: str | None) -> None:
        """Remember what was learnt about an app; None forgets it."""
        key = ("history", app, what)
        if value is None:
            self._database.write(key, "DELETE FROM history WHERE app = ? AND what = ?", (app, what))
        else:
            self._database.write(key, "INSERT OR REPLACE INTO history VALUES (?, ?, ?)", (app, what, value))

    def releases(self) -> dict[str, frozenset[str]]:
        """The release commands that have worked, by app."""
        found: dict[str, set[str]] = {}
        for app, release in self._database.execute("SELECT app, id FROM release"):
            found.setdefault(app, set()).add(release)
        return {app: frozenset(releases) for app, releases in found.items()}

    def add_release(self, app: str, release: str) -> None:
        """Remember that a release command has worked."""
        key = ("release", app, release)
        self._database.write(key, "INSERT OR REPLACE INTO release VALUES (?, ?)", (app, release))

    def app_statuses(self) -> dict[str, AppStatus]:
        """How each app stood when it was last told."""
        rows = self._database.execute("SELECT app, state, message, wanted, since, next_try_at, reason FROM standing")
        return {
            row[0]: AppStatus(
                state=row[1], message=row[2], wanted=row[3], since=row[4], next_try_at=row[5], reason=row[6]
            )
            for row in rows
        }

    def set_app_status(self, app: str, standing: AppStatus) -> None:
        """Remember how an app stands."""
        row = (app, standing.state, standing.message, standing.wanted, standing.since, standing.next_try_at,
               standing.reason)  # fmt: skip
        self._database.write(("standing", app), "INSERT OR REPLACE INTO standing VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def erase(self, app: str) -> None:
        """Forget everything of an app but its events."""
        self._database.disown(app)
        for table in ("lease", "source", "history", "standing", "instance", "release"):
            self._database.execute(f"DELETE FROM {table} WHERE app = ?", (app,))  # noqa: S608  names are the six above
