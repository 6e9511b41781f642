"""Observe services, and what apps get from them, from the records; without an effect."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Protocol

from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import ExternalInputs
from reconciler.planning.apps.revision import Bound
from reconciler.planning.reason import Cause
from reconciler.planning.services.observed import GrantState, ObservedService, ServiceState
from reconciler.planning.services.service import Service
from reconciler.services.provisioner import Misconfigured
from reconciler.services.records import GrantRecord, ServiceRecord, ServiceRecords, parameters_id
from reconciler.services.server_choice import server_name
from reconciler.settings.settings import Settings
from reconciler.vault.env_files import EnvFiles

_NOTHING = ExternalInputs()
_MOST_COMPARED = 1000  # names, with one that no service has


@dataclass(slots=True, kw_only=True)
class CredentialCheck:
    """The last check of a grant: when, in monotonic seconds, and whether it was bound again since it last worked.

    `worked_at` is when its credentials last worked. `down` says why that cannot be found out now, as when the server
    does not answer; `outage` is the last time that it could not, since it had last worked and until it did again.
    """

    at: float | None = None
    repaired: bool = False
    worked_at: float = float("-inf")
    down: str = ""
    outage: tuple[float, float] | None = None

    def works(self, now: float) -> None:
        """Note that the credentials work, or that a server is there to reject them."""
        if self.down:
            self.down, self.outage = "", (self.worked_at, now)
        self.at = self.worked_at = now


@dataclass(frozen=True, slots=True, kw_only=True)
class LastReport:
    """The last report of a service; `next_try_at` is monotonic seconds."""

    message: str = ""
    next_try_at: float | None = None
    failures: int = 0


class AppsView(Protocol):
    """What services need to know of apps."""

    def revisions_alive(self, app: str) -> frozenset[str]:
        """Return the ids of the revisions that an instance of the app runs."""
        ...

    def rollback_grants(self, app: str) -> frozenset[str]:
        """Return the grants that a revision uses to which the app may go back."""
        ...


class ServiceObserver:
    """Compares the records of services with the manifests in force.

    `boot` identifies the clock of times on record; `checks` are by grant; `last_report` returns a service's,
    and `backup_trouble` why its scheduled backups fail or are late.
    """

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        settings: Settings,
        service_records: ServiceRecords,
        env_files: EnvFiles,
        apps: AppsView,
        *,
        boot: str,
        checks: Mapping[str, CredentialCheck],
        last_report: Callable[[str], LastReport],
        backup_trouble: Callable[[str], Cause | None],
    ) -> None:
        self._settings = settings
        self._service_records = service_records
        self._env_files = env_files
        self._apps = apps
        self._boot = boot
        self._checks = checks
        self._last_report = last_report
        self._backup_trouble = backup_trouble
        self.services: Mapping[str, Service] = {}
        self.wanted_by: dict[str, dict[str, str]] = {}

    def follow(self, services: Mapping[str, Service], apps: Mapping[str, App]) -> frozenset[str]:
        """Take over what manifests ask for; return the services whose apps, or their parameters, changed."""
        before, self.services, self.wanted_by = self.wanted_by, services, {}
        for app in apps.values():
            for binding in app.bindings:
                self.wanted_by.setdefault(binding.service, {})[app.name] = parameters_id(binding.parameters)
        named = before.keys() | self.wanted_by.keys()
        return frozenset(name for name in named if before.get(name) != self.wanted_by.get(name))

    def observed(self, name: str) -> ObservedService:
        """Return what is true of a service now."""
        service, server, problem = self.services.get(name), None, None
        if service is not None:
            try:
                server = server_name(service, self._settings)
            except Misconfigured as error:
                problem = str(error)
        return ObservedService(
            kept=tuple(self._service_state(record) for record in self._service_records.of(name)),
            server=server,
            problem=problem,
            wanted_by=self.wanted_by.get(name, {}),
            verify_every_s=self._settings.verify_every_s,
            grace_s=self._settings.grace_s,
            backup_trouble=self._backup_trouble(name),
        )

    def inputs(self, app: App | None, name: str) -> ExternalInputs:
        """Return the credentials and secrets that an app has now, and what it lacks."""
        any_service = self._service_records.services()
        held = {bound.service: bound for bound in self._bindings_of(name)} if any_service else {}
        if app is None or not (app.bindings or app.env_files or app.env_lists):
            return ExternalInputs(held=held) if held else _NOTHING
        values, unread, stale = self._env_files.of(app)
        bound: list[Bound] = []
        lacking: dict[str, str] = {}
        for binding in app.bindings:
            service, grant = self.services.get(binding.service), held.get(binding.service)
            if service is None or grant is None:
                lacking[binding.service] = f"service {binding.service}: {self._why_not(binding.service)}"
            else:
                label = service.label or service.type
                bound.append(replace(grant, name=binding.name, label=label, plan=service.plan, tags=service.tags))
        reports = [self._last_report(service) for service in lacking]
        checks = [(one.service, self._checks[one.grant]) for one in bound if one.grant in self._checks]
        return ExternalInputs(
            bound=tuple(bound),
            env_secrets=values,
            missing=(*lacking.values(), *unread),
            again_at=min((r.next_try_at for r in reports if r.next_try_at is not None), default=None),
            failures=max((r.failures for r in reports), default=0),
            stale=stale,
            down=tuple(f"service {service} is down: {check.down}" for service, check in checks if check.down),
            outages=tuple(check.outage for _, check in checks if check.outage is not None),
            held=held,
        )

    def _service_state(self, record: ServiceRecord) -> ServiceState:
        return ServiceState(
            id=record.id,
            type=record.type,
            server=record.server,
            retain=record.retain,
            grace_s=record.grace_s,
            made=record.made,
            # A time of another boot's clock means nothing: the grace period starts again, and never ends too early.
            left_at=record.left_at if record.boot == self._boot else None,
            dumped=record.dumped,
            grants=tuple(self._grant_state(grant) for grant in record.grants),
        )

    def _grant_state(self, grant: GrantRecord) -> GrantState:
        check = self._checks.get(grant.id) or CredentialCheck()
        uses, alive = self._service_records.uses(grant.app), self._apps.revisions_alive(grant.app)
        return GrantState(
            id=grant.id,
            app=grant.app,
            parameters=grant.parameters,
            bound=grant.credentials is not None,
            due=grant.due,
            retiring=grant.retiring,
            used=any(grant.id in grants for revision, grants in uses.items() if revision in alive),
            kept_for_rollback=grant.id in self._apps.rollback_grants(grant.app),
            verified_at=check.at,
            repaired=check.repaired,
        )

    def _bindings_of(self, app: str) -> Iterator[Bound]:
        """Yield the bindings of an app that have credentials; of a service that was replaced, those of the new one."""
        for record in self._service_records.services():
            # A retiring grant counts as long as no other has credentials.
            bound = [g for g in record.grants if g.app == app and g.credentials is not None]
            grant = max(bound, key=lambda g: (g.retiring is None, g.number), default=None)
            service = self.services.get(record.name)
            if grant is None or grant.credentials is None or not self._is_current(record, service):
                continue
            yield Bound(
                service=record.name,
                type=record.type,
                label=record.type,
                plan=record.plan,
                instance=record.id,
                grant=grant.id,
                credentials=grant.credentials,
            )

    def _is_current(self, record: ServiceRecord, service: Service | None) -> bool:
        if service is None:
            return record.left_at is None or len(self._service_records.of(record.name)) == 1
        try:
            server = server_name(service, self._settings)
        except Misconfigured:  # while the settings are wrong, existing services stay in use
            return service.type == record.type
        return (record.type, record.server) == (service.type, server)

    def _meant(self, name: str) -> str:
        """Return the service that was probably meant, as the end of a sentence; "" if none is close."""
        if len(self.services) > _MOST_COMPARED:
            return ""
        from difflib import get_close_matches  # few hosts have an app whose service is missing

        close = get_close_matches(name, sorted(self.services), n=1)
        return f"; did you mean '{close[0]}'?" if close else ""

    def _why_not(self, name: str) -> str:
        if name not in self.services:
            return f"no manifest defines it{self._meant(name)}"
        return self._last_report(name).message or "it is being created"
