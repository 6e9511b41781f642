"""What is true of services, and what apps are supplied with, from what is on record; without an effect."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from reconciler.planning.apps.observed import ExternalInputs
from reconciler.planning.desired import App, Bound, Service
from reconciler.planning.services.observed import GrantState, ObservedService, ServiceState
from reconciler.services.provisioner import Misconfigured
from reconciler.services.records import GrantRecord, ServiceRecord, ServiceRecords, parameters_id
from reconciler.services.servers import server_name
from reconciler.settings.settings import Settings
from reconciler.vault.env_files import EnvFiles

_NOTHING = ExternalInputs()


@dataclass(slots=True, kw_only=True)
class CredentialCheck:
    """When a grant was last tried, monotonic seconds, and whether it was bound again since it last worked."""

    at: float | None = None
    repaired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LastReport:
    """What was last told of a service; `next_try_at` is monotonic seconds."""

    message: str = ""
    next_try_at: float | None = None
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AppsView:
    """What others know: `alive` the revisions of an app with an instance, `spare` the grants it may go back to."""

    boot: str
    alive: Callable[[str], frozenset[str]]
    rollback_grants: Callable[[str], frozenset[str]]
    checked: Callable[[str], CredentialCheck]
    told: Callable[[str], LastReport]


class ServiceObserver:
    """Looks at the ledger with what the manifests ask for in mind."""

    def __init__(self, settings: Settings, service_records: ServiceRecords, env: EnvFiles, around: AppsView) -> None:
        self._settings = settings
        self._service_records = service_records
        self._env = env
        self._around = around
        self.services: Mapping[str, Service] = {}
        self.wanted_by: dict[str, dict[str, str]] = {}

    def follow(self, services: Mapping[str, Service], apps: Mapping[str, App]) -> frozenset[str]:
        """Learn what is asked; returns the services that other apps, or the same otherwise, ask for now."""
        before, self.services, self.wanted_by = self.wanted_by, services, {}
        for app in apps.values():
            for binding in app.bindings:
                self.wanted_by.setdefault(binding.service, {})[app.name] = parameters_id(binding.parameters)
        named = before.keys() | self.wanted_by.keys()
        return frozenset(name for name in named if before.get(name) != self.wanted_by.get(name))

    def seen(self, name: str) -> ObservedService:
        """What is true of a service right now."""
        service, server, problem = self.services.get(name), None, None
        if service is not None:
            try:
                server = server_name(service, self._settings.servers)
            except Misconfigured as error:
                problem = str(error)
        return ObservedService(
            kept=tuple(self._kept(record) for record in self._service_records.of(name)),
            server=server,
            problem=problem,
            wanted_by=self.wanted_by.get(name, {}),
            verify_every_s=self._settings.verify_every_s,
            grace_s=self._settings.grace_s,
        )

    def inputs(self, app: App | None, name: str) -> ExternalInputs:
        """What an app is supplied with right now."""
        held = {bound.service: bound for bound in self._opening(name)}
        if app is None or not (app.bindings or app.env_files or app.env_lists):
            return ExternalInputs(held=held) if held else _NOTHING
        values, unread, stale = self._env.of(app)
        bound: list[Bound] = []
        lacking: dict[str, str] = {}
        for binding in app.bindings:
            service, grant = self.services.get(binding.service), held.get(binding.service)
            if service is None or grant is None:
                lacking[binding.service] = f"service {binding.service}: {self._why_not(binding.service)}"
            else:
                label = service.label or service.type
                bound.append(replace(grant, name=binding.name, label=label, plan=service.plan, tags=service.tags))
        told = [self._around.told(service) for service in lacking]
        return ExternalInputs(
            bound=tuple(bound),
            env_secrets=values,
            missing=(*lacking.values(), *unread),
            again_at=min((t.next_try_at for t in told if t.next_try_at is not None), default=None),
            failures=max((t.failures for t in told), default=0),
            stale=stale,
            held=held,
        )

    def _kept(self, record: ServiceRecord) -> ServiceState:
        return ServiceState(
            id=record.id,
            type=record.type,
            server=record.server,
            retain=record.retain,
            grace_s=record.grace_s,
            made=record.made,
            # Of another boot's clock nothing can be said: the time begins again, and never ends too early.
            left_at=record.left_at if record.boot == self._around.boot else None,
            dumped=record.dumped,
            grants=tuple(self._held_as(grant) for grant in record.grants),
        )

    def _held_as(self, grant: GrantRecord) -> GrantState:
        checked = self._around.checked(grant.id)
        uses, alive = self._service_records.uses(grant.app), self._around.alive(grant.app)
        return GrantState(
            id=grant.id,
            app=grant.app,
            parameters=grant.parameters,
            bound=grant.credentials is not None,
            due=grant.due,
            retiring=grant.retiring,
            used=any(grant.id in grants for revision, grants in uses.items() if revision in alive),
            kept_for_rollback=grant.id in self._around.rollback_grants(grant.app),
            verified_at=checked.at,
            repaired=checked.repaired,
        )

    def _opening(self, app: str) -> Iterator[Bound]:
        """The credentials of an app that open something; where a service was made anew, those of the new one."""
        for record in self._service_records.services():
            # One on its way out opens the service as long as no other does.
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
            server = server_name(service, self._settings.servers)
        except Misconfigured:  # while the settings are wrong, what was made before them goes on
            return service.type == record.type
        return (record.type, record.server) == (service.type, server)

    def _why_not(self, name: str) -> str:
        if name not in self.services:
            return f"no manifest asks for a service named '{name}'"
        return self._around.told(name).message or "it is being made"
