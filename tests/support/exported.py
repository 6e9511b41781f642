"""Apps of one document as they are exported, without a file, a daemon and a cluster."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from reconciler.cluster.findings import Exporting
from reconciler.cluster.objects import Exported, exported
from reconciler.cluster.target import Gateway, IngressClass, Target, Values
from reconciler.documents.tree import trees_of
from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.isolation_fields import IsolationRules
from reconciler.manifests.parse_file import parse
from reconciler.planning.address import Address
from reconciler.planning.apps.app import App
from reconciler.planning.services.service import Service

IMAGE = f"registry.example.com/web/shop@sha256:{'a' * 64}"
TARGET = Target(image=IMAGE)
GATEWAY = Target(image=IMAGE, route=Gateway(name="public"))
INGRESS = Target(image=IMAGE, route=IngressClass(name="traefik"))
POSTGRESQL = Service(name="db", manifest="/db.yaml", type="postgresql")
MAIL = Service(name="mail", manifest="/mail.yaml", type="user-provided")
SERVICES = (POSTGRESQL, MAIL, replace(POSTGRESQL, name="other"))
_HOST = HostDefaults(isolation=IsolationRules(mounts=("/srv/media",)))


def app_of(fields: Mapping[str, Any]) -> App:
    """Return the app that a document with these fields defines; it has no mistake."""
    document = {"name": "shop", **({} if "source" in fields else {"path": "/apps/shop"}), **fields}
    parsed = parse("/m/shop.yaml", json.dumps(document).encode(), _HOST)
    assert not parsed.problems, [str(each) for each in parsed.problems]
    (found,) = parsed.apps
    address = None if found.port is None else Address(host=found.host, port=found.port)
    return found.unleased if address is None else found.unleased.listening_at(address)


def export(
    fields: Mapping[str, Any],
    target: Target = TARGET,
    *,
    values: Values | None = None,
    services: tuple[Service, ...] = SERVICES,
    with_secrets: bool = False,
    without: frozenset[str] = frozenset(),
) -> Exported:
    """Return what a document with these fields is exported as."""
    document = {"name": "shop", **({} if "source" in fields else {"path": "/apps/shop"}), **fields}
    (tree,), _ = trees_of("/m/shop.yaml", json.dumps(document, indent=1))
    exporting = Exporting(
        app=app_of(fields),
        tree=tree,
        target=target,
        services={each.name: each for each in services},
        values=values,
        without=without,
    )
    return exported(exporting, by_content=values is not None, with_secrets=with_secrets)


def objects(fields: Mapping[str, Any], target: Target = TARGET, **named: Any) -> dict[str, Any]:
    """Return the objects by `Kind/name`; there is no refusal."""
    found = export(fields, target, **named)
    assert not found.refusals, [str(each) for each in found.refusals]
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in found.objects}  # type: ignore[index, call-overload]
