"""What a service and a grant of ours are at a broker: their ids there, where their notes are, and what is asked."""

import json
import uuid
from collections.abc import Mapping

from reconciler.planning.fingerprint import Json, fingerprint
from reconciler.services.provisioner import Grant, Misconfigured, ServiceSpec
from reconciler.services.types.broker.catalog import Offering, Plan
from reconciler.services.types.broker.notes import Note
from reconciler.services.types.broker.operations import Resource

CONTEXT: Mapping[str, Json] = {"platform": "reconciler"}
_OURS = uuid.UUID("6f1d6a4e-6f0a-5d3b-9c55-0b6a3c1f7e21")
_SECRET_LETTERS = 8


def note_of(service: ServiceSpec, offering: Offering, plan: Plan) -> Note:
    parameters = parameters_of(service)
    try:
        json.dumps(parameters, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError):
        raise Misconfigured(f"the parameters of {service.name} hold what JSON cannot say") from None
    return Note(service_id=offering.id, plan_id=plan.id, parameters=fingerprint([service.id, parameters]))


def bind_body(note: Note, grant: Grant) -> dict[str, Json]:
    """Return the body of a bind request, with `app_guid` twice, for old and new brokers."""
    app = str(uuid.uuid5(_OURS, f"app/{grant.app}"))
    return {
        "service_id": note.service_id,
        "plan_id": note.plan_id,
        "context": dict(CONTEXT),
        "app_guid": app,
        "bind_resource": {"app_guid": app},
        **({"parameters": dict(grant.parameters)} if grant.parameters else {}),
    }


def texts_of(found: Json) -> tuple[str, ...]:
    """Every text in it that is long enough to be a secret: a broker may repeat what it was told."""
    if isinstance(found, dict):
        return tuple(text for value in found.values() for text in texts_of(value))
    if isinstance(found, list):
        return tuple(text for value in found for text in texts_of(value))
    return (found,) if isinstance(found, str) and len(found) >= _SECRET_LETTERS else ()


def parameters_of(service: ServiceSpec) -> dict[str, Json]:
    found = service.asked.get("parameters")
    return dict(found) if isinstance(found, dict) else {}


def provision_body(service: ServiceSpec, wanted: Note) -> dict[str, Json]:
    """Return the body of a provision request; for old brokers, this host is the organization and the space."""
    body: dict[str, Json] = {
        "service_id": wanted.service_id,
        "plan_id": wanted.plan_id,
        "context": dict(CONTEXT),
        "organization_guid": str(uuid.uuid5(_OURS, "organization")),
        "space_guid": str(uuid.uuid5(_OURS, "space")),
    }
    parameters = parameters_of(service)
    return body | {"parameters": parameters} if parameters else body


def instance_of(service: ServiceSpec, plan: Plan | None = None) -> Resource:
    return Resource(
        path=f"/v2/service_instances/{uuid.uuid5(_OURS, f'instance/{service.id}')}",
        title=f"instance of {service.name}",
        file=service.directory / "broker-instance.json",
        polling_s=plan.polling_s if plan else None,
    )


def binding_of(service: ServiceSpec, grant: Grant, plan: Plan | None = None) -> Resource:
    return Resource(
        path=f"{instance_of(service).path}/service_bindings/{uuid.uuid5(_OURS, f'binding/{grant.id}')}",
        title=f"binding of {grant.app} to {service.name}",
        file=service.directory / f"broker-binding-{grant.id}.json",
        polling_s=plan.polling_s if plan else None,
    )
