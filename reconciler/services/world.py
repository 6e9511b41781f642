"""The backing services of this host as a World: what is true of each, and one line for each step that changes it.

Whatever is made on a server is on record before; whatever opens it is on the disk before an app hears of it. For the
apps it says what they are supplied with, and why not with more.
"""

import asyncio
import contextlib
import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from reconciler.convergence.world import Report
from reconciler.linux.files import replace_file
from reconciler.planning.apps.observed import ExternalInputs
from reconciler.planning.cache import Planner
from reconciler.planning.desired import App, Bound, Service
from reconciler.planning.plan import Plan
from reconciler.planning.services.actions import (
    Action,
    BackUp,
    Bind,
    CreateGrant,
    Deprovision,
    Forget,
    RecordRetention,
    Register,
    Unbind,
    Verify,
)
from reconciler.planning.services.actions import Provision as Make
from reconciler.planning.services.observed import ObservedService
from reconciler.planning.services.plan import current, plan
from reconciler.planning.subject import Subject
from reconciler.services.backup import back_up
from reconciler.services.observer import AppsView, CredentialCheck, LastReport, ServiceObserver
from reconciler.services.provisioner import Grant, Misconfigured, ServiceError, ServiceSpec
from reconciler.services.records import BOXES, GrantRecord, ServiceRecord, ServiceRecords, ServiceStatus
from reconciler.services.registry import provisioner_of
from reconciler.services.servers import spec_of
from reconciler.settings.settings import Settings
from reconciler.state.journal import EventKind, Journal
from reconciler.vault.env_files import EnvFiles

_STEP_S = 120.0
_DUMP_S = 6 * 3600.0
_UNCHECKED = CredentialCheck()


class ServiceWorld:
    """The World of services. `woken` is called with a service's name, `concerns` with the name of an app.

    `alive` gives the revisions of an app that have an instance, `spare` the grants named by what it may go back to.
    """

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        settings: Settings,
        service_records: ServiceRecords,
        journal: Journal,
        *,
        boot: str,
        woken: Callable[[str], None],
        concerns: Callable[[str], None],
        alive: Callable[[str], frozenset[str]],
        spare: Callable[[str], frozenset[str]],
        told: Callable[[str, Report | None], None],
    ) -> None:
        self._settings = settings
        self._paths = settings.paths
        self._service_records = service_records
        self._journal = journal
        self._boot = boot
        self._woken = woken
        self._concerns = concerns
        self._alive = alive
        self._told = told
        self._apps: Mapping[str, App] = {}
        self._standings = service_records.service_statuses()
        self._reports: dict[str, Report] = {}
        self._checked: dict[str, CredentialCheck] = {}
        self._sizes: dict[str, int | None] = {n: s.size for n, s in self._standings.items()}
        self.env = EnvFiles(service_records.database, service_records.vault)
        around = AppsView(boot=boot, alive=alive, rollback_grants=spare, checked=self._checked_of, told=self._told_of)
        self._observer = ServiceObserver(settings, service_records, self.env, around)
        self._planner: Planner[Service, ObservedService, Plan[Action]] = Planner(plan)

    # What is asked

    def follow(self, services: Mapping[str, Service], apps: Mapping[str, App]) -> frozenset[str]:
        """Learn what is asked; returns the services to look at because of that."""
        self._apps = apps
        for name in self.env.known() - {n for n, app in apps.items() if app.env_files or app.env_lists}:
            self.env.forget(name, apps.get(name))
        before = self._observer.services
        changed = self._observer.follow(services, apps)
        for name, wanted_by in self._observer.wanted_by.items():
            if before.get(name) != services.get(name):
                for app in wanted_by:
                    self._concerns(app)
        return changed

    def names(self) -> frozenset[str]:
        """Every service of which anything is left here, asked for or not."""
        return frozenset({record.name for record in self._service_records.services()} | self._standings.keys())

    # What an app gets

    def inputs(self, app: App | None, name: str) -> ExternalInputs:
        """What an app is supplied with right now."""
        return self._observer.inputs(app, name)

    def use(self, app: str, revision: str, bindings: tuple[Bound, ...]) -> None:
        """An instance of a revision is about to work with these."""
        self._service_records.unused(app, self._alive(app) | {revision})
        if bindings:
            self._service_records.use(app, revision, frozenset(bound.grant for bound in bindings))

    def on_app_report(self, app: str) -> None:
        """What runs of an app changed, so that credentials may be of no use any more."""
        for record in self._service_records.services():
            for grant in record.grants:
                wanted = self._observer.wanted_by.get(record.name, {}).get(app)
                if grant.app == app and (grant.retiring or wanted != grant.parameters or record.left_at is not None):
                    self._woken(record.name)
                    break

    def forget_secrets(self, besides: frozenset[str]) -> None:
        """Forget every secret that is not in force, and that none of `besides` is the id of."""
        grants = (g.credentials for s in self._service_records.services() for g in s.grants)
        in_force = {kept for kept in grants if kept is not None} | set(self.env.versions())
        self._service_records.vault.keep_only(in_force | besides)

    # What an operator asks for

    def rotate(self, name: str, app: str | None) -> tuple[str, ...]:
        """Have new credentials take the place of those in use; returns the apps they are of."""
        service = self._observer.services.get(name)
        here = None if service is None else current(service, self.observe(name))
        wanted = self._observer.wanted_by.get(name, {})
        grants = () if here is None else self._service_records.service(here.id).grants
        chosen = [g for g in grants if g.app in wanted and app in {None, g.app} and not g.retiring]
        for grant in chosen:
            self._service_records.retire(grant.id, "a rotation was asked for")
        self._woken(name)
        return tuple(sorted({grant.app for grant in chosen}))

    def rekey(self) -> int:
        """Encrypt everything with a new key; returns how many secrets there are."""
        return self._service_records.vault.rekey(BOXES)

    def doubt(self, name: str, why: str) -> None:
        """What a user-provided service is made from may say something else now."""
        for record in self._service_records.of(name):
            for grant in record.grants:
                if grant.credentials is not None:
                    self._service_records.due(grant.id, why)
        self._woken(name)

    # The World

    def now(self) -> float:
        return time.monotonic()

    def plan(self, name: str, asked: Service | None) -> Plan[Action]:
        return self._planner.plan(name, asked, self.observe(name), self.now())

    def when_failing(self, name: str) -> str:  # noqa: ARG002  it is the same for each
        """A service whose next step fails; what apps were given of it before is theirs still."""
        return "failing"

    def observe(self, name: str) -> ObservedService:
        """What is true of a service right now."""
        return replace(self._observer.seen(name), has_residue=name in self._standings)

    async def do(self, name: str, step: Action) -> None:
        """Carry out one step; raises ServiceError, Sealed, sqlite3.Error or OSError when it cannot."""
        longest_s = _DUMP_S if isinstance(step, BackUp) else _STEP_S
        try:
            async with asyncio.timeout(longest_s):
                await self._do(name, step)
        except TimeoutError:
            raise ServiceError(f"{step}: that took longer than {longest_s:g} s") from None

    async def _do(self, name: str, step: Action) -> None:  # noqa: C901  one line for each step
        match step:
            case Register():
                self._register(name, step)
            case RecordRetention():
                left_at = self.now() if step.left else None
                self._service_records.note(
                    step.service, retain=step.retain, grace_s=step.grace_s, boot=self._boot, left_at=left_at,
                    dumped=False,
                )  # fmt: skip
            case Make():
                await self._make(name, step)
            case CreateGrant():
                app = self._apps[step.app]
                parameters = next((b.parameters for b in app.bindings if b.service == name), {})
                self._service_records.create_grant(step.service, step.app, parameters)
            case Bind():
                await self._bind(name, step)
            case Verify():
                await self._verify(name, step)
            case Unbind():
                await self._unbind(name, step)
            case BackUp():
                await self._back_up(name, step)
            case Deprovision():
                await self._deprovision(name, step)
            case Forget():
                self._forget(name)

    def report(self, name: str, report: Report) -> None:
        self._told(name, report)
        before, told_before = self._standings.get(name), self._reports.get(name)
        self._reports[name] = report
        now = time.time()  # noqa: TID251  shown to people, never subtracted
        standing = ServiceStatus(
            state=report.state,
            message=report.message,
            since=before.since if before is not None and before.state == report.state else now,
            next_try_at=None if report.next_try_at is None else now + report.next_try_at - self.now(),
            size=self._sizes.get(name),
            reason=str(report.reason),
        )
        if report.failed_now:
            self._record(name, "failed", report.message, f"try {report.failures}", report.reason)
        if standing == before:
            return
        self._standings[name] = standing
        with contextlib.suppress(sqlite3.Error):  # a full disk costs the display its freshness, nothing else
            self._service_records.set_service_status(name, standing)
        if told_before is None or (told_before.state, told_before.message, told_before.next_try_at) != (
            report.state, report.message, report.next_try_at
        ):  # fmt: skip
            for app in self._observer.wanted_by.get(name, {}):
                self._concerns(app)

    # The steps

    def _register(self, name: str, step: Register) -> None:
        service = self._observer.services[name]
        known = next(iter(self._on_disk(name, step)), None)
        grace_s = self._settings.grace_s if service.grace_s is None else service.grace_s
        record = self._service_records.register(service, step.server, known, grace_s)
        self._make_directory(record)
        if known is not None:
            self._record(name, "provisioned", "taken back under the id it had before the records were lost")

    def _make_directory(self, record: ServiceRecord) -> None:
        """Make sure of its directory, which says what it is in case the records are lost."""
        about = self._paths.service(record.name, record.id) / "about.json"
        if about.exists():
            return
        about.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(about, json.dumps({"type": record.type, "server": record.server}))

    def _on_disk(self, name: str, step: Register) -> Iterator[str]:
        """Ids of services of this name that are on no record: the database was lost."""
        known = {record.id for record in self._service_records.services()}
        for place in sorted(self._paths.service(name, "").glob("*/about.json")):
            with contextlib.suppress(OSError, ValueError):
                about = json.loads(place.read_text(encoding="utf-8"))
                if about == {"type": step.type, "server": step.server} and place.parent.name not in known:
                    yield place.parent.name

    async def _make(self, name: str, step: Make) -> None:
        service = self._observer.services[name]
        record = self._service_records.ask(step.service, service.plan, service.asked)
        await provisioner_of(record.type).provision(self._provision(record))
        self._service_records.note(record.id, made=step.made)
        self._record(name, "provisioned", f"{record.type} service {record.id} is there", step.cause, step.reason)

    async def _bind(self, name: str, step: Bind) -> None:
        record, grant = self._service_records.service(step.service), self._service_records.grant(step.grant)
        credentials = await provisioner_of(record.type).bind(self._provision(record), self._grant(grant))
        kept = self._service_records.bound(grant.id, credentials)
        checked = self._checked.setdefault(grant.id, CredentialCheck())
        checked.at = None if checked.repaired else self.now()
        if kept != grant.credentials:
            said = "new credentials" if grant.credentials is not None else "credentials"
            self._record(name, "bound", f"{grant.app} has {said}", step.cause, step.reason)
        self._concerns(grant.app)

    async def _verify(self, name: str, step: Verify) -> None:
        record, grant = self._service_records.service(step.service), self._service_records.grant(step.grant)
        if grant.credentials is None:
            return
        where, kind = self._provision(record), provisioner_of(record.type)
        wrong = await kind.verify(where, self._grant(grant), self._service_records.credentials(grant.credentials))
        checked = self._checked.setdefault(grant.id, CredentialCheck())
        checked.at = self.now()
        if wrong is None:
            checked.repaired = False
        elif not checked.repaired:
            checked.repaired = True
            self._record(name, "unhealthy", f"the credentials of {grant.app} do not work: {wrong}")
            self._service_records.due(grant.id, wrong)
        else:
            self._service_records.retire(grant.id, wrong)
        with contextlib.suppress(ServiceError):
            self._sizes[name] = await kind.size_bytes(where)

    async def _unbind(self, name: str, step: Unbind) -> None:
        record, grant = self._service_records.service(step.service), self._service_records.grant(step.grant)
        await provisioner_of(record.type).unbind(self._provision(record), self._grant(grant))
        self._service_records.revoke(grant.id)
        self._checked.pop(grant.id, None)
        self._record(name, "unbound", f"credentials of {grant.app} were taken back", step.cause, step.reason)

    async def _back_up(self, name: str, step: BackUp) -> None:
        record = self._service_records.service(step.service)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        file = self._paths.backups / f"{name}-{record.id}-{stamp}.{record.type}"
        try:
            await back_up(record.type, self._provision(record), file)
        except Misconfigured as error:
            self._record(name, "backup", f"not backed up: {error}", step.cause, step.reason)
        else:
            self._record(name, "backup", f"all it holds is in {file}", step.cause, step.reason)
        self._service_records.note(record.id, dumped=True)

    async def _deprovision(self, name: str, step: Deprovision) -> None:
        record = self._service_records.service(step.service)
        where = self._provision(record)
        await provisioner_of(record.type).deprovision(where)
        await asyncio.to_thread(shutil.rmtree, where.directory, ignore_errors=True)
        with contextlib.suppress(OSError):
            where.directory.parent.rmdir()
        self._service_records.drop(record.id)
        self._record(
            name, "removed", f"{record.type} service {record.id} is removed with all it held", step.cause, step.reason
        )

    def _forget(self, name: str) -> None:
        self._service_records.set_service_status(name, None)
        for known in (self._standings, self._reports, self._sizes):
            known.pop(name, None)
        self._told(name, None)

    # The pieces

    def _provision(self, record: ServiceRecord) -> ServiceSpec:
        self._make_directory(record)
        return spec_of(record, self._service_records.asked(record.id), self._settings)

    def _grant(self, grant: GrantRecord) -> Grant:
        return Grant(
            id=grant.id,
            app=grant.app,
            user=grant.user,
            password=self._service_records.password(grant.id),
            parameters=self._service_records.parameters(grant.id),
        )

    def _checked_of(self, grant: str) -> CredentialCheck:
        return self._checked.get(grant, _UNCHECKED)

    def _told_of(self, name: str) -> LastReport:
        report = self._reports.get(name)
        if report is None:
            return LastReport()
        return LastReport(message=report.message, next_try_at=report.next_try_at, failures=report.failures)

    def _record(self, name: str, kind: EventKind, text: str, cause: str = "", reason: str = "") -> None:
        with contextlib.suppress(sqlite3.Error):  # a full disk costs the journal a line, nothing else
            self._journal.write(Subject("service", name), kind, text, cause, reason)
