"""Ask an API server what no World needs: its version, the rights of the account, bounds of the namespace, logs.

Nothing that is asked here changes anything.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from reconciler.cluster.access import Right, granted
from reconciler.cluster.api.client import ApiError, Client

_NOT_SERVED = 404
_REVIEWS = "/apis/authorization.k8s.io/v1"


async def release_of(client: Client) -> str:
    """Return the version that a cluster says it is of, such as v1.36.2. Raises ApiError."""
    return str((await client.ask("GET", "/version")).get("gitVersion") or "of an unknown version")


async def missing_rights(client: Client, wanted: Sequence[Right]) -> list[Right]:
    """Return the rights that the account does not have in the namespace. Raises ApiError.

    A cluster says all at once what it knows; where it does not know all, it is asked for each that is not among that.
    """
    body = {"kind": "SelfSubjectRulesReview", "spec": {"namespace": client.namespace}}
    told = (await client.ask("POST", f"{_REVIEWS}/selfsubjectrulesreviews", body)).get("status") or {}
    rules = told.get("resourceRules") or ()
    missing = [right for right in wanted if not granted(rules, right)]
    if told.get("incomplete"):
        return [right for right in missing if not await _is_allowed(client, right)]
    return missing


async def _is_allowed(client: Client, right: Right) -> bool:
    resource, _, part = right.resource.partition("/")
    of = {
        "namespace": client.namespace,
        "verb": right.verb,
        "group": right.group,
        "resource": resource,
        "subresource": part,
    }
    body = {"kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": of}}
    told = await client.ask("POST", f"{_REVIEWS}/selfsubjectaccessreviews", body)
    return bool((told.get("status") or {}).get("allowed"))


async def items_of(client: Client, plural: str) -> list[Mapping[str, Any]]:
    """Return what there is of a resource of the namespace, without what others have. Raises ApiError."""
    found = await client.ask("GET", f"/api/v1/namespaces/{quote(client.namespace, safe='')}/{plural}")
    return list(found.get("items") or ())


async def namespace_labels(client: Client) -> Mapping[str, str]:
    """Return the labels of the namespace. Raises ApiError."""
    found = await client.ask("GET", f"/api/v1/namespaces/{quote(client.namespace, safe='')}")
    return (found.get("metadata") or {}).get("labels") or {}


async def pods_of(client: Client, selector: str) -> list[Mapping[str, Any]]:
    """Return the pods with these labels, the oldest first. Raises ApiError."""
    pods, _ = await client.list("Pod", selector)
    return sorted(pods, key=lambda pod: (str(pod["metadata"].get("creationTimestamp")), str(pod["metadata"]["name"])))


async def use_of(client: Client, selector: str) -> dict[str, Mapping[str, str]]:
    """Return what the containers of pods use, by the name of the pod: `cpu` and `memory`. Raises ApiError."""
    top = f"/apis/metrics.k8s.io/v1beta1/namespaces/{quote(client.namespace, safe='')}/pods"
    found = await client.ask("GET", f"{top}?{urlencode({'labelSelector': selector})}")
    return {
        str(each["metadata"]["name"]): (each.get("containers") or [{}])[0].get("usage") or {}
        for each in found.get("items") or ()
    }


async def log_of(client: Client, pod: str, asked: Mapping[str, str]) -> AsyncIterator[str]:
    """Yield the lines that a pod has written, `asked` as the parameters of its log are. Raises ApiError."""
    top = f"/api/v1/namespaces/{quote(client.namespace, safe='')}/pods/{quote(pod, safe='')}/log"
    async for line in client.lines(f"{top}?{urlencode(asked)}"):
        yield line


async def is_served(client: Client, kind: str) -> bool:
    """Return whether the cluster has a kind in any version that is known. Raises ApiError."""
    try:
        await client.version_of(kind)
    except ApiError as error:
        if error.status == _NOT_SERVED:
            return False
        raise
    return True
