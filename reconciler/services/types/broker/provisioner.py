"""Services of a service broker: a client of the Open Service Broker API 2.17.

The ids at the broker follow from ours, so a step that is done again talks about the same instance and binding. What
the API says: https://github.com/openservicebrokerapi/servicebroker/blob/v2.17/spec.md
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

from reconciler.planning.fingerprint import Json
from reconciler.services.client_of_uri import client_of_uri
from reconciler.services.provisioner import Client, Credentials, Grant, Misconfigured, ServiceError, ServiceSpec
from reconciler.services.types.broker import notes
from reconciler.services.types.broker.catalog import Offering, Plan, chosen
from reconciler.services.types.broker.client import Answer, BrokerSession, Timeouts, session
from reconciler.services.types.broker.notes import Note
from reconciler.services.types.broker.operations import (
    Conflict,
    Resource,
    follow,
    make,
    refusal,
    remove,
    remove_orphan,
)
from reconciler.services.types.broker.requests import (
    CONTEXT,
    bind_body,
    binding_of,
    instance_of,
    note_of,
    parameters_of,
    provision_body,
    texts_of,
)

_PATIENCE = Timeouts()


class Broker:
    """Provisions an instance for each service, and a binding for each grant."""

    def __init__(self, patience: Timeouts = _PATIENCE) -> None:
        self._patience = patience

    async def provision(self, service: ServiceSpec) -> None:
        """Create the instance, or update its plan and parameters. Raises ServiceError."""
        async with self._session(service) as talk:
            offering, plan = await chosen(talk, service)
            wanted = note_of(service, offering, plan)
            instance = instance_of(service, plan)
            known = notes.read(instance.file)
            changed = known is not None and known.state == "finished" and not known.asks_the_same(wanted)
            if not (changed and known is not None and await _changed(talk, service, offering, known, wanted)):
                await _made(talk, instance, wanted, provision_body(service, wanted))
            notes.write(instance.file, replace(wanted, state="finished"))

    async def bind(self, service: ServiceSpec, grant: Grant) -> Credentials:
        """Create the binding unless it exists, and return its credentials. Raises ServiceError."""
        async with self._session(service, grant) as talk:
            offering, plan = await chosen(talk, service)
            if not plan.bindable:
                raise Misconfigured(
                    f"plan {plan.name} of {offering.name} has no credentials: apps cannot be bound to it"
                )
            binding = binding_of(service, grant, plan)
            body = await _bound(talk, binding, grant, offering, plan)
            for key, words in (("route_service_url", "requests led through it"), ("volume_mounts", "a volume mounted")):
                if body.get(key):
                    raise await remove_orphan(
                        talk, binding, Misconfigured(f"{offering.name} needs {words}, which is not supported")
                    )
            credentials = body.get("credentials")
            if not isinstance(credentials, dict) and not body.get("syslog_drain_url"):
                broken = ServiceError(f"{talk.broker} returned no credentials, and cannot return them again")
                raise await _discarded(talk, binding, broken)
            notes.write(binding.file, Note(service_id=offering.id, plan_id=plan.id, state="finished"))
            return credentials if isinstance(credentials, dict) else {}

    async def verify(self, service: ServiceSpec, grant: Grant, credentials: Credentials) -> str | None:
        """Compare with what the broker holds; None also where it cannot be asked for a binding."""
        async with self._session(service, grant) as talk:
            offering, plan = await chosen(talk, service)
            if not offering.retrievable:
                return None
            answer = await talk.ask("GET", binding_of(service, grant, plan).path)
            if answer.status in {404, 410}:
                return f"{talk.broker} no longer has the binding"
            if answer.status != 200 or answer.body is None:
                raise refusal(talk, answer, f"show the binding of {grant.app} to {service.name}")
            held = answer.body.get("credentials")
            return f"{talk.broker} holds other credentials" if isinstance(held, dict) and held != credentials else None

    async def unbind(self, service: ServiceSpec, grant: Grant) -> None:
        """Remove the binding; one that the broker does not know is removed."""
        binding = binding_of(service, grant)
        known = notes.read(binding.file) or notes.read(instance_of(service).file)
        if known is None:
            return
        async with self._session(service, grant) as talk:
            await remove(talk, binding, known)
            notes.forget(binding.file)

    async def deprovision(self, service: ServiceSpec) -> None:
        """Remove the instance; needs no catalog, so it works when the broker no longer offers it."""
        instance = instance_of(service)
        known = notes.read(instance.file)
        if known is None:
            return
        async with self._session(service) as talk:
            await remove(talk, instance, known)
            notes.forget(instance.file)

    async def size_bytes(self, service: ServiceSpec) -> int | None:  # noqa: ARG002  # every kind is asked for it
        """None: the API has no word for it."""
        return None

    async def back_up(self, service: ServiceSpec, file: Path) -> None:
        raise Misconfigured(
            f"cannot dump {service.name} to {file.name}: brokers have no way to hand out what a service holds"
        )

    async def restore(self, service: ServiceSpec, file: Path) -> None:
        raise Misconfigured(
            f"cannot restore {service.name} from {file.name}: brokers have no way to take in what was dumped"
        )

    async def verify_backup(self, service: ServiceSpec, file: Path, scratch: Path) -> Mapping[str, int]:  # noqa: ARG002
        raise Misconfigured(f"{service.name} has no backups: brokers have no way to hand out what a service holds")

    async def remove_scratch(self, service: ServiceSpec) -> None:
        """Do nothing: nothing is restored."""

    def client(self, service: ServiceSpec, credentials: Credentials) -> Client:
        """Return the client of the credentials' URI. Raises Misconfigured if there is none."""
        return client_of_uri(service.name, credentials)

    def _session(self, service: ServiceSpec, grant: Grant | None = None) -> AbstractAsyncContextManager[BrokerSession]:
        who: dict[str, Json] = (
            {"service": service.name} if grant is None else {"service": service.name, "app": grant.app}
        )
        return session(service.server, self._patience, who, texts_of(parameters_of(service)))


async def _made(talk: BrokerSession, instance: Resource, wanted: Note, body: Mapping[str, Json]) -> None:
    """Create the instance; a finished one whose fields changed since is left as it is."""
    try:
        await make(talk, instance, wanted, body)
    except Conflict as error:
        known = notes.read(instance.file)
        if known is None or known.state != "finished" or not known.asks_the_same(wanted):
            raise await remove_orphan(talk, instance, error) from error


async def _changed(talk: BrokerSession, service: ServiceSpec, offering: Offering, known: Note, wanted: Note) -> bool:
    """Change what is there into what is wanted; False when it is there no longer."""
    if known.service_id != wanted.service_id:
        raise Misconfigured(
            f"{service.name} cannot become another service of {talk.broker}: ask for that by another name"
        )
    body: dict[str, Json] = {"service_id": wanted.service_id, "context": dict(CONTEXT)}
    if known.plan_id != wanted.plan_id:
        before = next((plan for plan in offering.plans if plan.id == known.plan_id), None)
        if not (before.updateable if before else offering.updateable):
            named = f" from {talk.said(before.name)}" if before else ""
            raise Misconfigured(f"{offering.name} of {talk.broker} cannot change its plan{named} to {service.plan}")
        body |= {"plan_id": wanted.plan_id, "previous_values": {"plan_id": known.plan_id}}
    if known.parameters != wanted.parameters:
        body["parameters"] = parameters_of(service)
    instance = instance_of(service)
    answer = await talk.ask("PATCH", instance.path, query={"accepts_incomplete": "true"}, body=body)
    if answer.status in {404, 410}:
        return False
    if answer.status == 202:
        await follow(talk, instance, replace(wanted, state="finished"), answer.text("operation"))
    elif answer.status != 200:
        raise refusal(talk, answer, f"change the {instance.title}")
    return True


async def _bound(
    talk: BrokerSession, binding: Resource, grant: Grant, offering: Offering, plan: Plan
) -> Mapping[str, Json]:
    """Return what the broker reports of an existing binding, empty if it does not."""
    note = Note(service_id=offering.id, plan_id=plan.id)
    asked = bind_body(note, grant)
    try:
        answer = await make(talk, binding, note, asked)
        if answer.status == 202 and not offering.retrievable:
            answer = await make(talk, binding, note, asked)
    except Conflict:
        answer = Answer(status=409, body=None)
    if answer.status == 201 and answer.body is not None and not _opens(answer.body):
        broken = ServiceError(f"{talk.broker} made the {binding.title} and gave no credentials")
        raise await remove_orphan(talk, binding, broken)
    if answer.body is not None and answer.status in {200, 201} and _opens(answer.body):
        return answer.body
    if not offering.retrievable:
        return {}
    answer = await talk.ask("GET", binding.path)
    if answer.status != 200 or answer.body is None:
        raise refusal(talk, answer, f"show the {binding.title}")
    return answer.body


def _opens(body: Mapping[str, Json]) -> bool:
    """Whether it is what a binding is for."""
    keys = ("credentials", "syslog_drain_url", "route_service_url", "volume_mounts")
    return any(body.get(key) is not None for key in keys)


async def _discarded(talk: BrokerSession, binding: Resource, why: ServiceError) -> ServiceError:
    """Remove a binding without credentials, even a finished one: no app can use it."""
    known = notes.read(binding.file)
    if known is not None:
        notes.write(binding.file, replace(known, state="orphan"))
    mended = await remove_orphan(talk, binding, why)
    return mended if mended is not why else ServiceError(f"{why}: it is replaced at the next attempt")
