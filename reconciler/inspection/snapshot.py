"""A read-only snapshot of the host, built from the state directory and the process table.

The daemon need not be running, and nothing here waits for it.
"""

import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.linux.process_identity import boot_id, start_ticks
from reconciler.manifests import persisted
from reconciler.manifests.last_answer import with_last_answers
from reconciler.planning.address import Address
from reconciler.staging import staged
from reconciler.staging.staged import Staged
from reconciler.state.lock import holder
from reconciler.state.records import NO_ADDRESS, AppStatus, InstanceRecord, Records
from reconciler.state.schema import open_database

# `status` needs none of these and its user waits for every import, so the functions that need them import them.
if TYPE_CHECKING:
    from reconciler.inspection.source_readings import SourceReading
    from reconciler.planning.apps.app import App
    from reconciler.planning.apps.observed import Failure, Instance, Observed, SleepState
    from reconciler.planning.apps.revision import Revision, Source
    from reconciler.planning.isolation.limits import Limits
    from reconciler.planning.reason import Cause
    from reconciler.planning.services.service import Service
    from reconciler.planning.tasks.task import Task
    from reconciler.services.observer import ServiceObserver
    from reconciler.services.records import ServiceRecords
    from reconciler.settings.settings import Settings
    from reconciler.state.paths import StatePaths
    from reconciler.state.records import ServiceStatus
    from reconciler.state.revision_history import RevisionHistory
    from reconciler.vault.env_files import EnvFiles


class HostSnapshot:
    """A snapshot of an existing state directory. Raises sqlite3.Error if it has no database; close it after use.

    `elsewhere` are directories in whose place others are read.
    """

    def __init__(self, paths: "StatePaths") -> None:
        self.paths = paths
        self.key_file: Path | None = None
        self.elsewhere: Mapping[str, Path] = {}
        self._database = open_database(paths.database, read_only=True)
        self.records = Records(self._database)
        self._boot = boot_id()

    def close(self) -> None:
        self._database.close()

    def place(self, path: str) -> str:
        """Return where a file is read that the host would have at a path: elsewhere, or there."""
        for directory, other in self.elsewhere.items():
            if path == directory or path.startswith(f"{directory}/"):
                return f"{other}{path[len(directory) :]}"
        return path

    @cached_property
    def daemon(self) -> int | None:
        """The pid of the daemon, None when none is running."""
        return holder(self.paths)

    @cached_property
    def instances(self) -> dict[str, list[InstanceRecord]]:
        """The instances of web servers that are alive, by app, oldest first."""
        found: dict[str, list[InstanceRecord]] = {}
        for record in self._of_this_boot:
            if not record.process and _alive(record):
                found.setdefault(record.app, []).append(self._with_readiness(record))
        return found

    @cached_property
    def processes(self) -> dict[str, list[InstanceRecord]]:
        """The instances of other processes that are alive, by app, oldest first."""
        found: dict[str, list[InstanceRecord]] = {}
        for record in self._of_this_boot:
            if record.process and _alive(record):
                found.setdefault(record.app, []).append(record)
        return found

    def alive(self, apps: Collection[str]) -> dict[str, list[InstanceRecord]]:
        """Return the instances that are alive of those of these apps that have some, as they are on record."""
        found: dict[str, list[InstanceRecord]] = {}
        for record in self.records.instances(apps):
            if record.boot == self._boot and _alive(record):
                found.setdefault(record.app, []).append(record)
        return found

    @cached_property
    def desired(self) -> dict[str, Any]:
        """The facts about the manifests in force, as the daemon last wrote them down: JSON data."""
        return persisted.remembered_facts(self.records)

    @cached_property
    def domains(self) -> list[dict[str, Any]]:
        """The facts about every domain, as the daemon last wrote them down: JSON data."""
        if not self.paths.domains.exists():
            return []
        from reconciler.routing.domain_rows import recorded  # most hosts have no domain

        return [row._asdict() for row in recorded(self.paths.domains)]

    @cached_property
    def origins(self) -> list[dict[str, Any]]:
        """The facts about the origins in git, as the daemon last wrote them down: JSON data."""
        return with_last_answers(persisted.remembered_origins(self.records), self.paths)

    @property
    def names(self) -> frozenset[str]:
        """Every app that has records, instances or files on this host."""
        built = (path.name for path in _listing(self.paths.apps) if not path.name.startswith("."))
        return frozenset({*self.app_statuses, *self._sources, *(r.app for r in self._of_this_boot), *built})

    def staged(self, app: str, build: str) -> Staged | None:
        """Return a finished build, None when it does not exist."""
        return staged.read(self.paths.builds(app) / build, self._boot)

    def read_source(self, app: "App") -> "SourceReading":
        """Read an app's source as the daemon would read it now. Blocks while it is hashed."""
        from reconciler.inspection.source_readings import SourceReading, read_source

        known = self.known_content(app)
        if app.source.pinned and not app.source.missing and known is not None:
            return SourceReading(content=known)
        return read_source(app, known, self.place(app.source.path))

    def known_content(self, app: "App") -> str | None:
        """Return the fingerprint of the app's source when it was last read, None if this source has never been read.

        Of a source that is not on this host, that of the one before, which stays until it is.
        """
        source, content = self._sources.get(app.name, (None, None))
        return content if source == app.source or app.source.missing else None

    def observed(
        self, name: str, app: "App | None", content: str | None, observer: "ServiceObserver | None" = None
    ) -> "Observed":
        """Return one app as the daemon would observe it, with `content` as the fingerprint of its source."""
        from reconciler.planning.apps.observed import ExternalInputs, Observed, SourceState

        records = [record for record in self._of_this_boot if record.app == name and not record.process]
        builds = staged.build_ids(self.paths.builds(name))
        alive = self.instances.get(name, [])
        exited = [record for record in records if not _alive(record) and (record.pid or self.daemon is None)]
        open_addresses = {address for record in alive for address in record.addresses}
        history = self._history.of(name)
        held = self._held_by_daemon(open_addresses.union(() if app is None else app.addresses))
        return Observed(
            source=None if content is None or app is None else SourceState(source=self._read(app), content=content),
            builds=builds,
            commands={each: found for each in builds if (found := staged.commands_of(self.paths.builds(name) / each))},
            listeners=frozenset(open_addresses | held),
            instances=(
                *(_instance(record, self._how_it_ended()) for record in exited),
                *(replace(_instance(record, None), limits=_limits(record, app)) for record in alive),
            ),
            armed=held if self._sleeps(name) else frozenset(),
            failures=history.failures if self.daemon is not None else _of_every_daemon(history.failures),
            known_good=history.known_good,
            override=history.override,
            held_workers=history.held_workers,
            sleep_state=self._sleep_state(name, history.sleep_state),
            released=self.records.releases().get(name, frozenset()),
            has_residue=name in self.app_statuses or name in self._sources,
            builds_in_use=frozenset(record.build for record in self.processes.get(name, ())),
            inputs=ExternalInputs() if observer is None else observer.inputs(app, name),
            split=history.canary,
        )

    def _read(self, app: "App") -> "Source":
        """Return the source of an app that was read: while the one it asks for is not here, the one before."""
        return self._sources[app.name][0] if app.source.missing and app.name in self._sources else app.source

    def _how_it_ended(self) -> str:
        """Return how an instance on record ended that is not running; a daemon that runs is about to find out."""
        return "exited while no daemon was watching" if self.daemon is None else "has just exited"

    def serves(self, name: str) -> bool:
        """Return whether an app answers, or would once a client connects."""
        alive = self.instances.get(name, ())
        return self._sleeps(name) or any(r.ready_at is not None and r.stopping_since is None for r in alive)

    @cached_property
    def last_of_schedules(self) -> "Mapping[tuple[str, str], Task]":
        """The last task of each schedule that has ended, by app and name."""
        return self.records.task_log.last_of_schedules()

    @cached_property
    def has_services(self) -> bool:
        """Whether any service is on record."""
        return bool(self._database.execute("SELECT EXISTS (SELECT 1 FROM service)").fetchone()[0])

    @cached_property
    def service_records(self) -> "ServiceRecords":
        """The records of services; secrets in them can only be read once `key_file` is set."""
        from reconciler.services.records import ServiceRecords
        from reconciler.vault.vault import Vault

        return ServiceRecords(self._database, Vault(self._database, self.key_file or self.paths.state / "key"))

    @cached_property
    def env_files(self) -> "EnvFiles":
        """The variables that apps took from files; their values can only be read once `key_file` is set."""
        from reconciler.vault.env_files import EnvFiles

        return EnvFiles(self.service_records.database, self.service_records.vault)

    def source_path(self, app: str) -> str:
        """Return the path from which an app's source was last read, "" if it never was."""
        source, _ = self._sources.get(app, (None, None))
        return "" if source is None else source.path

    def service_observer(
        self, settings: "Settings", services: "Mapping[str, Service]", apps: "Mapping[str, App]"
    ) -> "ServiceObserver":
        """Return an observer that sees the services as the daemon would, their credentials as just verified."""
        from reconciler.services.observer import CredentialCheck, LastReport, ServiceObserver

        self.key_file = settings.key
        statuses = self.records.service_statuses()
        checked = CredentialCheck(at=time.monotonic())
        observer = ServiceObserver(
            settings,
            self.service_records,
            self.env_files,
            self,
            boot=self._boot,
            checks={grant.id: checked for record in self.service_records.services() for grant in record.grants},
            last_report=lambda name: LastReport(message=statuses[name].message if name in statuses else ""),
            backup_trouble=lambda name: _backup_trouble(statuses.get(name)),
        )
        observer.follow(services, apps)
        return observer

    def revisions_alive(self, app: str) -> frozenset[str]:
        """Return the ids of the revisions that an instance of the app runs, or another process of it."""
        return frozenset(record.revision for record in (*self.instances.get(app, ()), *self.processes.get(app, ())))

    def known_good(self, app: str) -> "tuple[Revision, ...]":
        """Return the revisions of an app that passed their probation, the last one first."""
        return self._history.of(app).known_good

    def revisions_kept(self, app: str) -> frozenset[str]:
        """Return the ids of the revisions to which an app may go back, and of those that were started last."""
        history = self._history.of(app)
        return frozenset(revision.id for revision in (*history.revisions, *history.started))

    @property
    def boot(self) -> str:
        """The id of this boot of the host."""
        return self._boot

    def started_as(self, app: str, revision: str) -> "Revision | None":
        """Return the revision of an instance by its id, None if that is not known."""
        return self._history.of(app).started_as(revision)

    def rollback_grants(self, app: str) -> frozenset[str]:
        """Return the grants that a revision uses to which the app may go back."""
        return self._history.of(app).rollback_grants

    @cached_property
    def app_statuses(self) -> dict[str, AppStatus]:
        """The status that was last reported of each app."""
        return self.records.app_statuses()

    @cached_property
    def _sources(self) -> "Mapping[str, tuple[Source, str]]":
        return self.records.sources()

    @cached_property
    def _history(self) -> "RevisionHistory":
        from reconciler.state.revision_history import RevisionHistory

        return RevisionHistory(self.records, self._boot)

    def _sleeps(self, name: str) -> bool:
        last = self.app_statuses.get(name)
        return last is not None and last.state == "sleeping"

    def _sleep_state(self, name: str, known: "SleepState") -> "SleepState":
        """Only the daemon knows of activations; an app that is awake has had one."""
        return known if self._sleeps(name) else replace(known, activated_at=0.0)

    def _with_readiness(self, record: InstanceRecord) -> InstanceRecord:
        """Mark an instance ready when all its workers have passed their gate, as the next daemon will."""
        if record.ready_at is None and self._passed(record) >= record.workers:
            return replace(record, ready_at=time.monotonic())
        return record

    @cached_property
    def _of_this_boot(self) -> list[InstanceRecord]:
        return [record for record in self.records.instances() if record.boot == self._boot]

    def _held_by_daemon(self, candidates: set[Address]) -> frozenset[Address]:
        """Return those addresses on which the daemon itself listens."""
        return frozenset(
            each
            for each in candidates
            if (Path(each.path).name in self._daemon_sockets if each.path else each in self._daemon_addresses)
        )

    @cached_property
    def _daemon_addresses(self) -> frozenset[Address]:
        """The addresses with a port on which the daemon itself listens."""
        return frozenset(_listening(self.daemon)) if self.daemon else frozenset()

    @cached_property
    def _daemon_sockets(self) -> frozenset[str]:
        """The names of the unix sockets on which the daemon itself listens: of its directory the kernel says nothing.

        None if they cannot be read.
        """
        if not self.daemon:
            return frozenset()
        from reconciler.linux.listening_paths import listening_names
        from reconciler.linux.process_table import sockets_of

        return frozenset(filter(None, listening_names(set(sockets_of(self.daemon).values()))))

    def _passed(self, record: InstanceRecord) -> int:
        """Return how many workers of an instance have passed their gate."""
        return record.workers_passed(path.name for path in _listing(self.paths.readiness(record.app) / record.id))


def _alive(record: InstanceRecord) -> bool:
    return not record.has_program or (record.pid is not None and start_ticks(record.pid) == record.ticks)


def _of_every_daemon(failures: "tuple[Failure, ...]") -> "tuple[Failure, ...]":
    """Leave out the builds that could not be made: a daemon that starts tries each once more."""
    return tuple(failure for failure in failures if failure.phase != "staging")


def _listing(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def _listening(pid: int) -> Iterator[Address]:
    """Yield the addresses with a port that a process listens on, none if they cannot be read."""
    from reconciler.linux.process_table import listening_sockets, sockets_of

    own = set(sockets_of(pid).values())
    for each in listening_sockets(pid):
        if each.inode in own:
            yield Address(host=each.host, port=each.port)


def _instance(record: InstanceRecord, end: str | None) -> "Instance":
    from reconciler.planning.apps.observed import Instance

    return Instance(
        id=record.id,
        revision=record.revision,
        build=record.build,
        address=None if record.address == NO_ADDRESS else record.address, beside=record.beside_address,
        pid=record.pid or 0,
        started_at=record.started_at,
        workers=record.workers,
        ready_at=record.ready_at,
        stopping_since=record.stopping_since,
        end=end,
        stop_timeout_s=record.stop_timeout_s,
    )  # fmt: skip


def _limits(record: InstanceRecord, app: "App | None") -> "Limits":
    from reconciler.planning.isolation.limits import NO_LIMITS

    if app is None or not app.limits or not record.pid:
        return NO_LIMITS
    from reconciler.isolation.cells import cell_seen
    from reconciler.isolation.limiting import seen

    return seen(cell_seen(record.app, record.id, record.pid), record.pid, app.limits)


def _backup_trouble(status: "ServiceStatus | None") -> "Cause | None":
    """Return the trouble that was last reported of a service's backups, which only a daemon finds out."""
    from reconciler.planning.reason import BACKUP_TROUBLES, Cause, Reason

    if status is None or status.reason not in BACKUP_TROUBLES:
        return None
    return Cause(Reason(status.reason), status.message)
