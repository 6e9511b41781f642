"""Typed access to what must outlive the daemon: leases, instances, sources, history, manifests, statuses.

Every write is one transaction, on the disk at once where it says so. A record is only a hint about a process: the
process table has the last word.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from reconciler.linux.dataclass import dataclass
from reconciler.planning.address import Address, both
from reconciler.planning.subject import Subject
from reconciler.state.database import Database
from reconciler.state.table import Table

# Whoever looks at statuses alone waits for none of these.
if TYPE_CHECKING:
    from reconciler.planning.apps.revision import Source
    from reconciler.state.release_log import ReleaseLog
    from reconciler.state.task_log import TaskLog

NO_ADDRESS = Address(host="", port=0)  # of an instance that listens nowhere; the columns are not null


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRecord:
    """An instance, started or about to be. Its times are monotonic seconds of `boot`, its pid is 0 without a program.

    One of a `process` that is not web has a number, its `slot`, a `version` that says what it runs, and the sequence by
    which it is stopped, of which so many `steps` were taken. `isolation` is "" for none, then the kind that it asks
    for, then the proof of what it has. `beside` is the text of the port at which it listens as well as at a socket.
    """

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
    process: str = ""
    slot: int = 0
    version: str = ""
    stop: str = ""
    steps: int = 0
    isolation: str = ""
    beside: str = ""

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens: nowhere, at one address, or at a socket and a port beside it."""
        return both(None if self.address == NO_ADDRESS else self.address, self.beside_address)

    @property
    def beside_address(self) -> Address | None:
        """The port at which it listens as well as at a socket, None without one."""
        return Address.of_port(self.beside) if self.beside else None

    @property
    def has_program(self) -> bool:
        """Whether a process runs for it: none does for the revision in force of an app without a web server."""
        return self.pid != 0

    @property
    def key(self) -> str:
        """Its app's name, or `APP/PROCESS` for an instance of a process that is not web."""
        return f"{self.app}/{self.process}" if self.process else self.app

    @property
    def directory_name(self) -> str:
        """Its directory's name below the app's revisions: the revision's id, unless another was recorded."""
        return self.directory or self.revision

    def as_json(self) -> dict[str, Any]:
        """Return what `asdict` makes of it, without copies of values that cannot change."""
        return {each.name: getattr(self, each.name) for each in fields(self)} | {"address": asdict(self.address)}

    def workers_passed(self, names: Iterable[str]) -> int:
        """Return how many workers have passed their gate, by the names in the instance's readiness directory.

        An app's own program passes as a whole: it decides how many processes it has.
        """
        seen = set(names)
        passed = sum(1 for name in seen if name.isdecimal())
        return max(passed, self.workers) if passed and "program" in seen else passed


@dataclass(frozen=True, slots=True, kw_only=True)
class AppStatus:
    """The last reported status of an app. `since` and `next_try_at` are wall-clock seconds."""

    state: str
    message: str
    wanted: str | None
    since: float
    next_try_at: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """The last reported status of a service. `since` and `next_try_at` are wall-clock seconds, `size` bytes."""

    state: str
    message: str
    since: float
    next_try_at: float | None = None
    size: int | None = None
    reason: str = ""


_INSTANCES = Table("instance", InstanceRecord)
_APP_STATUSES = Table("standing", AppStatus)
_SERVICE_STATUSES = Table("service_standing", ServiceStatus)


class Records:
    """Reads and writes the tables of apps, and every status."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def lasting(self) -> AbstractContextManager[None]:
        """Make the writes inside one transaction that survives a power cut, at the cost of waiting for the disk."""
        return self._database.lasting()

    def together(self) -> AbstractContextManager[None]:
        """Make the writes inside one transaction."""
        return self._database.together()

    def fact(self, name: str) -> str | None:
        """Return a stored value, None if it was never set."""
        row = self._database.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_fact(self, name: str, value: str) -> None:
        """Store a single value."""
        self._database.write(("fact", name), "INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))

    def leases(self) -> dict[str, int]:
        """Return the port leased to each app."""
        found = self._database.execute("SELECT app, port FROM lease")
        return {app: port for app, port in found if isinstance(port, int) and 0 < port < 2**16}

    def replace_leases(self, leases: Mapping[str, int]) -> None:
        """Replace every lease by these; call it inside `lasting`."""
        self._database.execute("DELETE FROM lease")
        self._database.executemany("INSERT INTO lease VALUES (?, ?)", sorted(leases.items()))

    def manifests(self) -> dict[str, bytes]:
        """Return the last valid content of each manifest file."""
        return dict(self._database.execute("SELECT file, content FROM manifest"))

    def replace_manifests(self, changed: Mapping[str, bytes | None]) -> None:
        """Store the last valid content of files; None deletes one."""
        for file, content in changed.items():
            if content is None:
                self._database.execute("DELETE FROM manifest WHERE file = ?", (file,))
            else:
                self._database.execute("INSERT OR REPLACE INTO manifest VALUES (?, ?)", (file, content))

    def sources(self) -> "dict[str, tuple[Source, str]]":
        """Return, for each app, the source that was last read and its fingerprint."""
        from reconciler.planning.apps.revision import Source

        rows = self._database.execute("SELECT app, path, pinned, content FROM source")
        return {app: (Source(path=path, pinned=pinned), content) for app, path, pinned, content in rows}

    def set_source(self, app: str, source: "Source", content: str) -> None:
        """Store the fingerprint of an app's source."""
        row = (app, source.path, source.pinned, content)
        self._database.write(("source", app), "INSERT OR REPLACE INTO source VALUES (?, ?, ?, ?)", row)

    def instances(self, apps: Collection[str] | None = None) -> list[InstanceRecord]:
        """Return every instance on record, or those of some apps, of any boot, oldest first."""
        if apps is None:
            return _INSTANCES.rows(self._database, "ORDER BY started_at, id")
        some = "WHERE app IN (SELECT value FROM json_each(?)) ORDER BY started_at, id"
        return _INSTANCES.rows(self._database, some, (json.dumps([*apps]),))

    def put_instance(self, record: InstanceRecord) -> None:
        """Write an instance's record, new or changed."""
        self._database.write(("instance", record.id), *_INSTANCES.put(record))

    def drop_instance(self, instance: str) -> None:
        """Delete an instance's record."""
        self._database.write(("instance", instance), "DELETE FROM instance WHERE id = ?", (instance,))

    def histories(self) -> dict[tuple[str, str], str]:
        """Return the revision history of apps, as JSON, by app and aspect."""
        rows = self._database.execute("SELECT app, what, value FROM history")
        return {(app, what): value for app, what, value in rows}

    def history_of(self, what: str) -> dict[str, str]:
        """Return one aspect of the revision history of each app, as JSON."""
        return dict(self._database.execute("SELECT app, value FROM history WHERE what = ?", (what,)))

    def set_history(self, app: str, what: str, value: str | None) -> None:
        """Store one aspect of an app's revision history; None deletes it."""
        key = ("history", app, what)
        if value is None:
            self._database.write(key, "DELETE FROM history WHERE app = ? AND what = ?", (app, what))
        else:
            self._database.write(key, "INSERT OR REPLACE INTO history VALUES (?, ?, ?)", (app, what, value))

    def releases(self) -> dict[str, frozenset[str]]:
        """Return the ids of the release commands that succeeded, by app."""
        found: dict[str, set[str]] = {}
        for app, release in self._database.execute("SELECT app, id FROM release"):
            found.setdefault(app, set()).add(release)
        return {app: frozenset(releases) for app, releases in found.items()}

    def add_release(self, app: str, release: str) -> None:
        """Store that a release command succeeded."""
        key = ("release", app, release)
        self._database.write(key, "INSERT OR REPLACE INTO release VALUES (?, ?)", (app, release))

    @property
    def release_log(self) -> "ReleaseLog":
        """The releases of each app."""
        from reconciler.state.release_log import ReleaseLog

        return ReleaseLog(self._database)

    @property
    def task_log(self) -> "TaskLog":
        """The tasks of each app."""
        from reconciler.state.task_log import TaskLog

        return TaskLog(self._database)

    def app_statuses(self) -> dict[str, AppStatus]:
        """Return the last reported status of each app."""
        return _APP_STATUSES.by(self._database, "app")

    def set_app_status(self, app: str, status: AppStatus) -> None:
        """Store an app's status."""
        self._database.write(("standing", app), *_APP_STATUSES.put(status, app=app))

    def service_statuses(self) -> dict[str, ServiceStatus]:
        """Return the last reported status of each service."""
        return _SERVICE_STATUSES.by(self._database, "name")

    def set_service_status(self, service: str, status: ServiceStatus | None) -> None:
        """Store a service's status; None deletes it."""
        key = ("service_standing", Subject("service", service))
        if status is None:
            self._database.write(key, "DELETE FROM service_standing WHERE name = ?", (service,))
        else:
            self._database.write(key, *_SERVICE_STATUSES.put(status, name=service))

    def erase(self, app: str) -> None:
        """Delete everything about an app except its events."""
        self._database.disown(app)
        for table in ("lease", "source", "history", "standing", "instance", "release", "app_release"):
            self._database.execute(f"DELETE FROM {table} WHERE app = ?", (app,))  # noqa: S608  names are those above
