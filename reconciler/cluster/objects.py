"""Turn an app into the objects of a cluster. Pure: the same app, target and secrets give the same objects.

Every field of the manifest is in them or in the image, or is told, or the app is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field

from reconciler.cluster.deployments import processes, web
from reconciler.cluster.egress import egress
from reconciler.cluster.findings import Exporting, notes_of, refusals_of
from reconciler.cluster.jobs import release, schedules
from reconciler.cluster.pods import Object, labels, selector
from reconciler.cluster.routes import routes
from reconciler.cluster.secrets import Secret, Secrets, secret_object, secrets_of
from reconciler.cluster.target import Target
from reconciler.cluster.versions import API_VERSIONS, READ, RESOURCES
from reconciler.documents.problem import Problem
from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import App
from reconciler.planning.fingerprint import Json
from reconciler.planning.services.service import Service

# The label by which what has to be there first is applied first.
STEP = "reconciler.dev/step"
_FIRST = frozenset(("Secret", "Job", "NetworkPolicy"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The objects of an app in the order in which they are applied, none if it is refused.

    `missing` are the Secrets that they refer to and that are not among them.
    """

    objects: tuple[Object, ...] = field(default=(), repr=False)
    refusals: tuple[Problem, ...] = ()
    notes: tuple[Problem, ...] = ()
    missing: tuple[Secret, ...] = ()


def exported(exporting: Exporting, *, by_content: bool, with_secrets: bool) -> Exported:
    """Return the objects of an app, or what keeps it from having any.

    Secrets are named by what is in them where `by_content` and that is known, and among the objects `with_secrets`.
    """
    refusals, notes = refusals_of(exporting), notes_of(exporting)
    if refusals:
        return Exported(refusals=tuple(refusals), notes=tuple(notes))
    secrets = secrets_of(exporting.app, exporting.services, exporting.values, by_content=by_content)
    made = _objects(exporting.app, exporting.target, secrets)
    if with_secrets:
        given = (_secret(exporting, each, by_content=by_content) for each in secrets.all)
        made = (*given, *made)
    return Exported(objects=tuple(made), notes=tuple(notes), missing=() if with_secrets else secrets.all)


def _objects(app: App, target: Target, secrets: Secrets) -> tuple[Object, ...]:
    found: list[tuple[str, str, str, Object]] = []
    if app.isolation.connects != "all":
        pods: Object = {"matchLabels": selector(app)}
        spec: Object = {"podSelector": pods, "policyTypes": ["Egress"], "egress": egress(app)}
        found.append(("NetworkPolicy", app.name, "", {"spec": spec}))
    found += release(app, target, secrets)
    of_web = list(web(app, target, secrets))
    port = next((_port(rest) for kind, _, _, rest in of_web if kind == "Service"), 0)
    found += of_web
    found += routes(app, target, secrets, port)
    found += processes(app, target, secrets)
    found += schedules(app, target, secrets)
    return tuple(_object(app, target, kind, name, part, rest) for kind, name, part, rest in found)


def pod_specs(app: App, target: Target, services: Mapping[str, Service]) -> Iterator[Object]:
    """Yield the spec of each kind of pod that an app has, also of one that is refused."""
    secrets = secrets_of(app, services, None, by_content=False)
    for each in (release, web, processes, schedules):
        for _, _, _, rest in each(app, target, secrets):
            yield from _specs_in(rest)


def _specs_in(made: Object) -> Iterator[Object]:
    spec = made.get("spec")
    if not isinstance(spec, dict):
        return
    if "containers" in spec:
        yield spec
    for inner in (spec.get("template"), spec.get("jobTemplate")):
        if isinstance(inner, dict):
            yield from _specs_in(inner)


def _object(app: App, target: Target, kind: str, name: str, part: str, rest: Object) -> Object:  # noqa: PLR0913, PLR0917
    metadata = _metadata(app, target, name, kind, part)
    return {"apiVersion": API_VERSIONS[kind], "kind": kind, "metadata": metadata, **rest}


def _metadata(app: App, target: Target, name: str, kind: str, part: str = "") -> Object:
    where: Object = {"namespace": target.namespace} if target.namespace else {}
    step = "first" if kind in _FIRST else "then"
    return {"name": name, **where, "labels": {**labels(app, part), STEP: step}}


def _secret(exporting: Exporting, secret: Secret, *, by_content: bool) -> Object:
    metadata = _metadata(exporting.app, exporting.target, secret.name, "Secret")
    return secret_object(secret, metadata, by_content=by_content)


def _port(service: Object) -> int:
    spec = service["spec"]
    assert isinstance(spec, dict)
    ports = spec["ports"]
    assert isinstance(ports, list)
    assert isinstance(ports[0], dict)
    return int(str(ports[0]["port"]))


def claimed_twice(apps: Mapping[str, Sequence[Object]]) -> Iterator[tuple[str, str]]:
    """Yield an app and a sentence for each object that two apps would have."""
    seen: dict[tuple[str, str], str] = {}
    for app, objects in apps.items():
        for made in objects:
            metadata = made["metadata"]
            assert isinstance(metadata, dict)
            key = str(made["kind"]), str(metadata["name"])
            if key in seen and seen[key] != app:
                yield app, f"{app} and {seen[key]} would both have the {key[0]} {key[1]}: rename one, or a part of it"
            seen.setdefault(key, app)


def role(namespace: str) -> Object:
    """Return a Role that may apply what an export has, and see how it fares, in its namespace alone."""
    where: Object = {"namespace": namespace} if namespace else {}
    changes: Json = ["create", "delete", "get", "list", "patch", "update", "watch"]
    rules: list[Json] = [
        {"apiGroups": [group], "resources": [*resources], "verbs": changes} for group, resources in RESOURCES.items()
    ]
    rules += [
        {"apiGroups": [group], "resources": [*resources], "verbs": ["get", "list", "watch"]}
        for group, resources in READ.items()
    ]
    told: Object = {"app.kubernetes.io/managed-by": "reconciler"}
    metadata: Object = {"name": "reconciler", **where, "labels": told}
    return {"apiVersion": API_VERSIONS["Role"], "kind": "Role", "metadata": metadata, "rules": rules}
