"""The services of this host as a World: their observation, their plans, and the actions that change them.

A service or grant is on record before anything is created on a server, and credentials are in the database before an
app receives them.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from reconciler.convergence.wake_queue import WakeQueue
from reconciler.convergence.world import Report
from reconciler.linux.dataclass import dataclass
from reconciler.linux.remove_tree import remove_tree
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import ExternalInputs
from reconciler.planning.apps.revision import Bound
from reconciler.planning.cache import Planner
from reconciler.planning.desired_state import DesiredState
from reconciler.planning.plan import Plan
from reconciler.planning.reason import Reason
from reconciler.planning.services.actions import (
    Action,
    BackUp,
    Bind,
    CreateGrant,
    Deprovision,
    Forget,
    Provision,
    RecordRetention,
    Register,
    Unbind,
    Verify,
)
from reconciler.planning.services.observed import ObservedService
from reconciler.planning.services.service import Service
from reconciler.planning.subject import Subject
from reconciler.services.backup import BACKUP_TIMEOUT_S, back_up
from reconciler.services.backup_files import new_backup
from reconciler.services.directories import ServiceDirectories
from reconciler.services.observer import AppsView, CredentialCheck, ServiceObserver
from reconciler.services.provisioner import MOST_CREDENTIALS, Grant, Misconfigured, Outdated, ServiceError, ServiceSpec
from reconciler.services.records import GrantRecord, ServiceRecord, ServiceRecords
from reconciler.services.registry import provisioner_of
from reconciler.services.requested_backups import RequestedBackups
from reconciler.services.rotation import Rotation
from reconciler.services.scheduled_backups import ScheduledBackups
from reconciler.services.server_choice import spec_of
from reconciler.services.statuses import ServiceStatuses
from reconciler.settings.settings import Settings
from reconciler.state.journal import EventKind, Journal
from reconciler.state.records import Records
from reconciler.vault.env_files import EnvFiles

_ACTION_TIMEOUT_S = 120.0
# In place of the fingerprint with which a service was provisioned, when that is unknown: no fingerprint is equal.
_FOUND_AGAIN = "found again"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStores:
    """What outlives the daemon about services, and about the files from which apps take variables."""

    records: Records
    service_records: ServiceRecords
    env_files: EnvFiles


class ServiceWorld:
    """The World of services. It wakes a service that needs something, and an app whose inputs may have changed.

    `publish` receives every report on a service, and None once nothing of it is left.
    """

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        settings: Settings,
        stores: ServiceStores,
        journal: Journal,
        *,
        boot: str,
        wakeups: WakeQueue,
        app_wakeups: WakeQueue,
        apps: AppsView,
        publish: Callable[[Subject, Report | None], None],
    ) -> None:
        self._settings = settings
        self._service_records = stores.service_records
        self._journal = journal
        self._boot = boot
        self._wakeups = wakeups
        self._app_wakeups = app_wakeups
        self._apps_view = apps
        self._publish = publish
        self._apps: Mapping[str, App] = {}
        self._checks: dict[str, CredentialCheck] = {}
        self._statuses = ServiceStatuses(stores.records)
        self._directories = ServiceDirectories(settings.paths, stores.service_records)
        self.env_files = stores.env_files
        self.backups = ScheduledBackups(
            settings, stores.service_records, stores.records, spec_of=self._spec, record=self._record,
            wake=wakeups.wake,
        )  # fmt: skip
        self.requested_backups = RequestedBackups(
            settings, stores.service_records, now=time.time,  # noqa: TID251  it is in the names of files
            spec_of=self._spec, record=self._record,
        )  # fmt: skip
        self._observer = ServiceObserver(
            settings, stores.service_records, stores.env_files, apps,
            boot=boot, checks=self._checks, last_report=self._statuses.last_report,
            backup_trouble=self.backups.trouble,
        )  # fmt: skip
        self.rotation = Rotation(stores.service_records, self._observer, stores.env_files, wakeups)
        self._planner: Planner[Service, ObservedService, Plan[Action]] = Planner(_planned)

    # Desired state

    def follow(self, desired: DesiredState) -> Mapping[str, Service]:
        """Learn what is desired, wake what that concerns, and return the services."""
        services, apps = desired.services, desired.apps
        self._apps = apps
        for name in self.env_files.known() - {n for n, app in apps.items() if self.env_files.paths(app)}:
            self.env_files.forget(name, apps.get(name))
        before = self._observer.services
        changed = self._observer.follow(services, apps)
        for name, wanted_by in self._observer.wanted_by.items():
            if before.get(name) != services.get(name):
                for app in wanted_by:
                    self._app_wakeups.wake(app)
        for name in changed:
            self._wakeups.wake(name)
        self.backups.follow(services)
        return services

    def names(self) -> frozenset[str]:
        """Return every service that is on record or has a status, whether or not a manifest asks for it."""
        return self._service_records.names() | self._statuses.names()

    # What apps get

    def inputs(self, app: App | None, name: str) -> ExternalInputs:
        """Return the credentials and secrets that an app has now, and what it lacks."""
        return self._observer.inputs(app, name)

    def use(self, app: str, revision: str, bindings: tuple[Bound, ...]) -> None:
        """Record that an instance of a revision is about to use these bindings."""
        self._service_records.unused(app, self._apps_view.revisions_alive(app) | {revision})
        if bindings:
            self._service_records.use(app, revision, frozenset(bound.grant for bound in bindings))

    def rename_use(self, app: str, former: str, current: str) -> None:
        """Record what instances of a revision work with under the revision's current id."""
        self._service_records.rename_use(app, former, current)

    def on_report(self, subject: Subject, _: Report | None) -> None:
        """Wake the services whose grants for an app may no longer be needed."""
        if subject.kind == "app":
            self._wake_services_of(subject.name)

    def doubt(self, app: str) -> None:
        """Verify the services of an app now: something that uses them has failed."""
        for service, by_app in self._observer.wanted_by.items():
            if app in by_app:
                grants = (grant for record in self._service_records.of(service) for grant in record.grants)
                for check in (self._checks[grant.id] for grant in grants if grant.id in self._checks):
                    check.at = None
                self._wakeups.wake(service)

    def _wake_services_of(self, app: str) -> None:
        for record in self._service_records.services():
            for grant in record.grants:
                wanted = self._observer.wanted_by.get(record.name, {}).get(app)
                if grant.app == app and (grant.retiring or wanted != grant.parameters or record.left_at is not None):
                    self._wakeups.wake(record.name)
                    break

    # The World

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def plan(self, name: str, asked: Service | None) -> Plan[Action]:
        """Plan what to do about a service now."""
        return self._planner.plan(name, asked, self.observe(name), self.now())

    def when_failing(self, name: str) -> str:  # noqa: ARG002  it is the same for each
        """Return the state of a service whose action fails; apps keep the credentials they have."""
        return "failing"

    def observe(self, name: str) -> ObservedService:
        """Return what is true of a service now."""
        return replace(self._observer.observed(name), has_residue=self._statuses.has(name))

    async def do(self, name: str, action: Action) -> None:
        """Carry out one action. Raises ServiceError, VaultLocked, sqlite3.Error or OSError if it fails."""
        timeout_s = BACKUP_TIMEOUT_S if isinstance(action, BackUp) else _ACTION_TIMEOUT_S
        try:
            async with asyncio.timeout(timeout_s):
                await self._do(name, action)
        except TimeoutError:
            raise ServiceError(f"{action}: no success within {timeout_s:g} s") from None

    async def _do(self, name: str, action: Action) -> None:  # noqa: C901  one case for each action
        match action:
            case Register():
                self._register(name, action)
            case RecordRetention():
                left_at = self.now() if action.left else None
                self._service_records.note(
                    action.service, retain=action.retain, grace_s=action.grace_s, boot=self._boot, left_at=left_at,
                    dumped=False,
                )  # fmt: skip
            case Provision():
                await self._provision(name, action)
            case CreateGrant():
                app = self._apps[action.app]
                parameters = next((b.parameters for b in app.bindings if b.service == name), {})
                self._service_records.create_grant(action.service, action.app, parameters)
            case Bind():
                await self._bind(name, action)
            case Verify():
                await self._verify(name, action)
            case Unbind():
                await self._unbind(name, action)
            case BackUp():
                await self._back_up(name, action)
            case Deprovision():
                await self._deprovision(name, action)
            case Forget():
                self.backups.forget(name)
                self._statuses.forget(name)
                self._publish(Subject("service", name), None)

    def report(self, name: str, report: Report) -> None:
        """Store a report as the service's status, and pass it on."""
        subject = Subject("service", name)
        report = replace(report, message=self._journal.redacted(subject, report.message))
        self._publish(subject, report)
        if report.failed_now:
            self._record(name, "failed", report.message, f"try {report.failures}", report.reason)
        if self._statuses.update(name, report):
            for app in self._observer.wanted_by.get(name, {}):
                self._app_wakeups.wake(app)

    # The actions

    def _register(self, name: str, action: Register) -> None:
        service = self._observer.services[name]
        known = next(self._directories.unrecorded(name, action.type, action.server), None)
        grace_s = self._settings.grace_s if service.grace_s is None else service.grace_s
        record = self._service_records.register(service, action.server, known, grace_s)
        self._directories.create(record)
        if known is not None:
            # It may hold data, although no record says that it was provisioned.
            self._service_records.note(record.id, made=_FOUND_AGAIN)
            self._record(name, "provisioned", f"found again as {known}, the id it had before the database was lost")

    async def _provision(self, name: str, action: Provision) -> None:
        service = self._observer.services[name]
        record = self._service_records.ask(action.service, service.plan, service.asked)
        await provisioner_of(record.type).provision(self._spec(record))
        # What the credentials say may come from the manifest: its apps get them anew before it counts as done.
        for grant in record.grants:
            if grant.credentials is not None and not grant.retiring:
                self._service_records.due(grant.id, action.cause)
        self._service_records.note(record.id, made=action.made)
        self._record_action(name, "provisioned", f"{record.type} service {record.id} is ready", action)
        self.backups.look()

    async def _bind(self, name: str, action: Bind) -> None:
        record, grant = self._service_records.service(action.service), self._service_records.grant(action.grant)
        credentials = await provisioner_of(record.type).bind(self._spec(record), self._grant(grant))
        if len(credentials) > MOST_CREDENTIALS:
            raise ServiceError(f"it gives {len(credentials)} credentials, and {MOST_CREDENTIALS} are the most")
        stored = self._service_records.bound(grant.id, credentials)
        check = self._checks.setdefault(grant.id, CredentialCheck())
        check.at = None if check.repaired or check.down else self.now()
        if stored != grant.credentials:
            what = "new credentials" if grant.credentials is not None else "credentials"
            self._record_action(name, "bound", f"{grant.app} has {what}", action)
        self._app_wakeups.wake(grant.app)

    async def _verify(self, name: str, action: Verify) -> None:
        from reconciler.services.server_connection import is_for_apps_alone

        record, grant = self._service_records.service(action.service), self._service_records.grant(action.grant)
        if grant.credentials is None:
            return
        spec, provisioner = self._spec(record), provisioner_of(record.type)
        credentials = self._service_records.credentials(grant.credentials)
        check = self._checks.setdefault(grant.id, CredentialCheck())
        before = check.down
        try:
            if await is_for_apps_alone(spec.server, credentials):
                problem = None
            else:
                problem = await provisioner.verify(spec, self._grant(grant), credentials)
        except ServiceError as error:
            check.down = str(error)
            raise
        else:
            check.works(self.now())
        finally:
            if check.down != before:
                self._app_wakeups.wake(grant.app)
        if problem is None:
            check.repaired = False
        elif isinstance(problem, Outdated):
            self._service_records.due(grant.id, problem)
        elif not check.repaired:
            check.repaired = True
            text = f"the credentials of {grant.app} do not work: {problem}"
            self._record(name, "unhealthy", text, reason=Reason.UNHEALTHY)
            self._service_records.due(grant.id, problem)
        else:
            self._service_records.retire(grant.id, problem)
        with contextlib.suppress(ServiceError):
            self._statuses.set_size(name, await provisioner.size_bytes(spec))

    async def _unbind(self, name: str, action: Unbind) -> None:
        record, grant = self._service_records.service(action.service), self._service_records.grant(action.grant)
        await provisioner_of(record.type).unbind(self._spec(record), self._grant(grant))
        self._service_records.revoke(grant.id)
        self._checks.pop(grant.id, None)
        self._record_action(name, "unbound", f"credentials of {grant.app} were revoked", action)

    async def _back_up(self, name: str, action: BackUp) -> None:
        record = self._service_records.service(action.service)
        now = time.time()  # noqa: TID251  shown to people, never subtracted
        file = new_backup(self._settings.paths.backups, record, now, "removal")
        try:
            await back_up(record.type, self._spec(record), file)
        except Misconfigured as error:
            self._record_action(name, "backup", f"not backed up: {error}", action)
        else:
            self._record_action(name, "backup", f"backed up to {file}", action)
        self._service_records.note(record.id, dumped=True)

    async def _deprovision(self, name: str, action: Deprovision) -> None:
        record = self._service_records.service(action.service)
        try:
            await provisioner_of(record.type).deprovision(self._spec(record))
        except Misconfigured:
            if record.made:
                raise
            # Its server, say, was never one, or has left the settings: there is nothing to remove.
        directory = self._settings.paths.service(record.name, record.id)
        await asyncio.to_thread(remove_tree, directory)
        with contextlib.suppress(OSError):
            directory.parent.rmdir()
        self._service_records.drop(record.id)
        how = "with its data" if record.made else "before it was provisioned"
        self._record_action(name, "removed", f"{record.type} service {record.id} was removed {how}", action)

    # What provisioners are told

    def _spec(self, record: ServiceRecord) -> ServiceSpec:
        self._directories.create(record)
        return spec_of(record, self._service_records.asked(record.id), self._settings)

    def _grant(self, grant: GrantRecord) -> Grant:
        return Grant(
            id=grant.id,
            app=grant.app,
            user=grant.user,
            password=self._service_records.password(grant.id),
            parameters=self._service_records.parameters(grant.id),
        )

    def _record_action(self, name: str, kind: EventKind, text: str, action: Action) -> None:
        self._record(name, kind, text, action.cause, action.reason)

    def _record(self, name: str, kind: EventKind, text: str, cause: str = "", reason: str = "") -> None:
        with contextlib.suppress(sqlite3.Error):  # a full disk costs the journal a line, nothing else
            self._journal.write(Subject("service", name), kind, text, cause, reason)


def _planned(asked: Service | None, observed: ObservedService, now: float) -> Plan[Action]:
    from reconciler.planning.services.plan import plan  # most hosts have none

    return plan(asked, observed, now)
