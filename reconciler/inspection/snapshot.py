"""What is true on this host as another process can see it: from the state directory and the process table, no effect.

The daemon need not run, and nothing here waits for it.
"""

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.linux.processes import boot_id, start_ticks
from reconciler.manifests import persisted
from reconciler.planning.desired import Address, App, Service
from reconciler.planning.fingerprint import Json
from reconciler.services.records import ServiceRecords
from reconciler.staging import staged
from reconciler.staging.staged import Staged
from reconciler.state.journal import Journal
from reconciler.state.lock import holder
from reconciler.state.records import AppStatus, InstanceRecord, Records, ServiceStatus
from reconciler.state.schema import open_database
from reconciler.vault.vault import Vault

# `status` needs none of these, and its user waits for every one: who asks for more imports them then.
if TYPE_CHECKING:
    from reconciler.planning.apps.observed import Instance, Observed, SleepState
    from reconciler.services.observer import ServiceObserver
    from reconciler.settings.settings import Settings
    from reconciler.state.paths import StatePaths
    from reconciler.state.revision_history import RevisionHistory

_NEVER_LOOKED_AT = AppStatus(state="pending", message="not looked at yet", wanted=None, since=0, next_try_at=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReading:
    """An app's source as it is: its fingerprint, or the last one known and why there is no newer."""

    content: str | None
    problem: str | None = None


class HostSnapshot:
    """One look at a state directory that exists; raises sqlite3.Error when it has no database. Close it after use."""

    def __init__(self, paths: "StatePaths") -> None:
        self.paths = paths
        self.key_file: Path | None = None
        self._database = open_database(paths.database, read_only=True)
        self.records = Records(self._database)
        self._boot = boot_id()

    def close(self) -> None:
        """Read no more."""
        self._database.close()

    @cached_property
    def daemon(self) -> int | None:
        """The pid of the daemon, None when none runs."""
        return holder(self.paths)

    @cached_property
    def instances(self) -> dict[str, list[InstanceRecord]]:
        """The instances that are alive, by app, oldest first."""
        found: dict[str, list[InstanceRecord]] = {}
        for record in self._of_this_boot:
            if _alive(record):
                found.setdefault(record.app, []).append(self._as_it_will_be(record))
        return found

    @property
    def names(self) -> frozenset[str]:
        """Every app of which anything is left here."""
        built = (place.name for place in _listing(self.paths.apps))
        return frozenset({*self._standings, *self._sources, *(r.app for r in self._of_this_boot), *built})

    def staged(self, app: str, build: str) -> Staged | None:
        """A finished build, None when it is not there."""
        return staged.read(self.paths.builds(app) / build, self._boot)

    def read_source(self, app: App) -> SourceReading:
        """The source of an app as the daemon would read it now. Blocks for as long as that takes."""
        known = self.known_content(app)
        if app.source.pinned and known is not None:
            return SourceReading(content=known)
        return read_source(app, known)

    def known_content(self, app: App) -> str | None:
        """The fingerprint of the app's source when it was last read, None when this very source never was."""
        source, content = self._sources.get(app.name, (None, None))
        return content if source == app.source else None

    def observed(
        self, name: str, app: App | None, content: str | None, observer: "ServiceObserver | None" = None
    ) -> "Observed":
        """One app as the daemon would see it, its source read as `content`."""
        from reconciler.planning.apps.observed import ExternalInputs, Observed, SourceState

        records = [record for record in self._of_this_boot if record.app == name]
        builds = sorted(self.paths.builds(name).glob(f"*/{staged.RECORD}"), key=lambda r: r.stat().st_mtime_ns)
        alive = self.instances.get(name, [])
        gone = [record for record in records if not _alive(record) and (record.pid or self.daemon is None)]
        held = {record.address for record in alive}
        learnt = self._history.of(name)
        candidates = held | ({app.address} if app is not None and app.address is not None else set())
        return Observed(
            source=None if content is None or app is None else SourceState(source=app.source, content=content),
            builds=tuple(record.parent.name for record in builds if not record.parent.name.startswith(".")),
            listeners=frozenset(held | (candidates & self._doors)),
            instances=(
                *(_instance(record) for record in gone),
                *(_instance(record) for record in alive),
            ),
            armed=frozenset(candidates & self._doors) if self._sleeps(name) else frozenset(),
            failures=learnt.failures,
            known_good=learnt.known_good,
            override=learnt.override,
            sleep_state=self._rest(name, learnt.sleep_state),
            released=self.records.releases().get(name, frozenset()),
            has_residue=name in self._standings or name in self._sources,
            inputs=ExternalInputs() if observer is None else observer.inputs(app, name),
        )

    @cached_property
    def service_records(self) -> ServiceRecords:
        """What is on record of services; nothing in it that is secret can be read before `key_file` is set."""
        return ServiceRecords(self._database, Vault(self._database, self.key_file or self.paths.state / "key"))

    def service_observer(
        self, settings: "Settings", services: Mapping[str, Service], apps: Mapping[str, App]
    ) -> "ServiceObserver":
        """The services as the daemon would see them, their credentials tried just now."""
        from reconciler.services.observer import CredentialCheck, LastReport, ServiceObserver
        from reconciler.vault.env_files import EnvFiles

        self.key_file = settings.key
        statuses = self.records.service_statuses()
        checked = CredentialCheck(at=time.monotonic())
        observer = ServiceObserver(
            settings,
            self.service_records,
            EnvFiles(self.service_records.database, self.service_records.vault),
            self,
            boot=self._boot,
            checks={grant.id: checked for record in self.service_records.services() for grant in record.grants},
            last_report=lambda name: LastReport(message=statuses[name].message if name in statuses else ""),
        )
        observer.follow(services, apps)
        return observer

    def revisions_alive(self, app: str) -> frozenset[str]:
        """Return the ids of the revisions that an instance of the app runs."""
        return frozenset(record.revision for record in self.instances.get(app, ()))

    def rollback_grants(self, app: str) -> frozenset[str]:
        """Return the grants that a revision uses to which the app may go back."""
        learnt = self._history.of(app)
        pinned = () if learnt.override is None or learnt.override.revision is None else (learnt.override.revision,)
        return frozenset(bound.grant for back in (*learnt.known_good[:1], *pinned) for bound in back.bindings)

    def status(self, only: str | None = None) -> dict[str, Json]:
        """Everything `status --json` prints but the version; with `only`, one app."""
        asked = persisted.remembered_facts(self.records)
        files: list[Json] = asked.get("files", [])  # type: ignore[assignment]
        apps: dict[str, dict[str, Json]] = asked.get("apps", {})  # type: ignore[assignment]
        deaths = Journal(self._database).deaths()
        names = sorted({*self._standings, *apps, *self.instances})
        rows: list[Json] = [
            self._app(name, apps.get(name, {}), self._standings.get(name), deaths.get(name, 0)) for name in names
        ]
        rows += _refused(files, names)
        return {
            "daemon": {"running": self.daemon is not None, "pid": self.daemon},
            "apps": [row for row in rows if only is None or (isinstance(row, dict) and row["name"] == only)],
            "services": self._services(asked.get("services", {})) if only is None else [],  # type: ignore[arg-type]
            "manifests": [{"file": f["file"], "errors": f["errors"]} for f in files if isinstance(f, dict)],
            "notice": "; ".join(str(n) for n in (asked.get("notice"), _cannot_write(self.paths.state)) if n) or None,
        }

    def _services(self, asked: dict[str, dict[str, Json]]) -> list[Json]:
        """A row for each service that is asked for or of which anything is left."""
        standings = self.records.service_statuses()
        names = sorted({*asked, *standings, *(record.name for record in self.service_records.services())})
        return [self._service(name, asked.get(name, {}), standings.get(name)) for name in names]

    def _service(self, name: str, asked: dict[str, Json], standing: ServiceStatus | None) -> Json:
        record = max(
            self.service_records.of(name), key=lambda r: (r.type == asked.get("type"), r.left_at is None), default=None
        )
        apps: list[Json] = []
        apps += sorted({g.app for g in record.grants if g.credentials is not None}) if record is not None else []
        return {
            "name": name,
            "type": asked.get("type") or (record.type if record else None),
            "plan": asked.get("plan") or (record.plan if record else None),
            "label": asked.get("label"),
            "server": record.server if record else asked.get("server"),
            "apps": apps,
            "size": standing.size if standing else None,
            "state": standing.state if standing else "pending",
            "message": standing.message if standing else "not looked at yet",
            "since": standing.since if standing else None,
            "next_try_at": standing.next_try_at if standing and self.daemon is not None else None,
            "retain": asked.get("retain", record.retain if record else None),
            "id": record.id if record else None,
            "manifest": asked.get("manifest"),
        }

    @cached_property
    def _standings(self) -> dict[str, AppStatus]:
        return self.records.app_statuses()

    @cached_property
    def _sources(self) -> dict[str, tuple[object, str]]:
        return {name: (source, content) for name, (source, content) in self.records.sources().items()}

    @cached_property
    def _history(self) -> "RevisionHistory":
        from reconciler.state.revision_history import RevisionHistory

        return RevisionHistory(self.records, self._boot)

    def _sleeps(self, name: str) -> bool:
        standing = self._standings.get(name)
        return standing is not None and standing.state == "sleeping"

    def _rest(self, name: str, known: "SleepState") -> "SleepState":
        """Only the daemon knows who knocked; what is awake was knocked for."""
        return known if self._sleeps(name) else replace(known, activated_at=0.0)

    def _as_it_will_be(self, record: InstanceRecord) -> InstanceRecord:
        """An instance whose workers have all passed, as the next daemon will note it."""
        if record.ready_at is None and self._passed(record) >= record.workers:
            return replace(record, ready_at=time.monotonic())
        return record

    @cached_property
    def _of_this_boot(self) -> list[InstanceRecord]:
        return [record for record in self.records.instances() if record.boot == self._boot]

    @cached_property
    def _doors(self) -> frozenset[Address]:
        """The addresses on which the daemon itself listens."""
        return frozenset(_listening(self.daemon)) if self.daemon else frozenset()

    def _passed(self, record: InstanceRecord) -> int:
        """How many workers of an instance have come through their gate."""
        return sum(1 for place in _listing(self.paths.readiness(record.app) / record.id) if place.name.isdecimal())

    def _app(self, name: str, asked: dict[str, Json], standing: AppStatus | None, deaths: int) -> dict[str, Json]:
        serving = [record for record in self.instances.get(name, []) if record.ready_at is not None]
        newest = serving[-1] if serving else None
        build = self.staged(name, newest.build) if newest else None
        stands = standing or AppStatus(
            state="pending", message="not looked at yet", wanted=None, since=0, next_try_at=None
        )
        if self.daemon is None and asked:
            stands = _without_daemon(stands, alive=newest is not None)
        return {
            "name": name,
            "state": stands.state,
            "message": stands.message,
            "url": asked.get("url"),
            "port": asked.get("port"),
            "revision": newest.revision if newest else None,
            "wanted_revision": stands.wanted,
            "runtime": f"python{build.python_version}" if build else asked.get("runtime"),
            "pid": newest.pid if newest else None,
            "workers": newest.workers if newest else 0,
            "restarts": deaths,
            "since": stands.since or None,
            "next_try_at": stands.next_try_at,
            "services": asked.get("services", []),
            "manifest": asked.get("manifest"),
        }


def read_source(app: App, known: str | None = None) -> SourceReading:
    """The source of an app as it is now, or what was `known` of it and why there is nothing newer."""
    from reconciler.staging.errors import SourceError
    from reconciler.staging.source.snapshot import fingerprint

    try:
        return SourceReading(content=fingerprint(app.source.path))
    except SourceError as error:
        return SourceReading(content=known, problem=str(error))


def _cannot_write(state: Path) -> str:
    """Why what is shown may be of yesterday: nothing newer can be written down. Empty when all is well."""
    facts = os.statvfs(state)
    if facts.f_flag & os.ST_RDONLY:
        return f"{state} is read-only: the apps go on, and nothing of what happens is written down"
    if not facts.f_bavail or (facts.f_files and not facts.f_favail):
        return f"the disk of {state} is full: the apps go on, and what happens is written down when it has room again"
    return ""


def _alive(record: InstanceRecord) -> bool:
    return record.pid is not None and start_ticks(record.pid) == record.ticks


def _listing(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def _listening(pid: int) -> Iterator[Address]:
    """Where a process listens; nothing when that cannot be seen."""
    import psutil

    try:
        for connection in psutil.Process(pid).net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN:
                yield Address(host=connection.laddr.ip, port=connection.laddr.port)
    except (psutil.Error, OSError):
        return


def _without_daemon(standing: AppStatus, *, alive: bool) -> AppStatus:
    """What was last told may have changed since nobody watches: what serves serves, and nothing is retried."""
    if standing.state == "running" and not alive:
        return replace(standing, state="failing", message="nothing of it runs, and no daemon is there to start it")
    if standing.next_try_at is not None:
        message = f"{standing.message}; no daemon is there to try again"
        return replace(standing, message=message, next_try_at=None)
    return standing


def _instance(record: InstanceRecord) -> "Instance":
    from reconciler.planning.apps.observed import Instance

    return Instance(
        id=record.id,
        revision=record.revision,
        build=record.build,
        address=record.address,
        pid=record.pid or 0,
        started_at=record.started_at,
        workers=record.workers,
        ready_at=record.ready_at,
        stopping_since=record.stopping_since,
        end=None if _alive(record) else "ended while no daemon was watching",
    )


def _refused(files: list[Json], known: list[str]) -> list[Json]:
    """A row for each file that is refused and has nothing in force."""
    rows: list[Json] = []
    for entry in files:
        if not isinstance(entry, dict) or not entry["errors"] or entry["apps"]:
            continue
        file = str(entry["file"])
        name = file.rpartition("/")[2].rpartition(".")[0]
        if name in known:
            continue
        errors = entry["errors"]
        first = errors[0] if isinstance(errors, list) else None
        told = f"line {first['line']}: {first['path']}: {first['message']}" if isinstance(first, dict) else ""
        rows.append({
            "name": name, "state": "invalid", "message": told.replace(": : ", ": "), "url": None, "port": None,
            "revision": None, "wanted_revision": None, "runtime": None, "pid": None, "workers": 0, "restarts": 0,
            "since": None, "next_try_at": None, "services": [], "manifest": file,
        })  # fmt: skip
    return rows
