"""What the account of the daemon needs in a cluster, and the objects that give it that and nothing more. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from reconciler.cluster.pods import Object
from reconciler.cluster.versions import RESOURCES
from reconciler.linux.dataclass import dataclass
from reconciler.planning.fingerprint import Json

ACCOUNT = "reconciler"
_RBAC = "rbac.authorization.k8s.io"
_VERSIONS = {"Role": f"{_RBAC}/v1", "RoleBinding": f"{_RBAC}/v1", "ServiceAccount": "v1"}
# Created and patched by each apply, listed once and watched, asked for before an apply whose object was not seen.
_CHANGES = ("create", "delete", "get", "list", "patch", "watch")
_READS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("", "pods"): ("list", "watch"),
    ("", "pods/log"): ("get",),
    ("", "limitranges"): ("list",),
    ("", "namespaces"): ("get",),  # its own alone, whose labels have its level of Pod Security
    ("", "resourcequotas"): ("list",),
    ("metrics.k8s.io", "pods"): ("list",),
}


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """A verb on a resource of a group of the API."""

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{self.group and f'.{self.group}'}"


def rights() -> Iterator[Right]:
    """Yield each right that the daemon and its commands need in a namespace."""
    for group, resources in RESOURCES.items():
        yield from (Right(group, resource, verb) for resource in resources for verb in _CHANGES)
    for (group, resource), verbs in _READS.items():
        yield from (Right(group, resource, verb) for verb in verbs)


def granted(rules: Sequence[Mapping[str, object]], right: Right) -> bool:
    """Return whether rules, as a cluster tells an account those it has, give a right for every object."""
    return any(
        not rule.get("resourceNames")
        and _has(rule.get("verbs"), right.verb)
        and _has(rule.get("apiGroups"), right.group)
        and _has(rule.get("resources"), right.resource)
        for rule in rules
    )


def access(namespace: str) -> tuple[Object, ...]:
    """Return an account in a namespace, the role that gives it what it needs there, and what binds them."""
    labels: Object = {"app.kubernetes.io/managed-by": "reconciler"}

    def made(kind: str, **rest: Json) -> Object:
        metadata: Object = {"name": ACCOUNT, "namespace": namespace, "labels": labels}
        return {"apiVersion": _VERSIONS[kind], "kind": kind, "metadata": metadata, **rest}

    subject: Object = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}
    role: Object = {"apiGroup": _RBAC, "kind": "Role", "name": ACCOUNT}
    return (
        made("ServiceAccount", automountServiceAccountToken=False),
        made("Role", rules=[*_rules()]),
        made("RoleBinding", roleRef=role, subjects=[subject]),
    )


def _rules() -> Iterator[Json]:
    """Yield the rules of a Role: one for all resources of a group with the same verbs."""
    by_resource = {
        resource: tuple(sorted(right.verb for right in found))
        for resource, found in groupby(sorted(rights()), key=lambda right: (right.group, right.resource))
    }
    by_verbs: dict[tuple[str, tuple[str, ...]], list[Json]] = {}
    for (group, resource), verbs in by_resource.items():
        by_verbs.setdefault((group, verbs), []).append(resource)
    for (group, verbs), resources in by_verbs.items():
        yield {"apiGroups": [group], "resources": resources, "verbs": [*verbs]}


def _has(given: object, wanted: str) -> bool:
    return isinstance(given, Sequence) and ("*" in given or wanted in given)
