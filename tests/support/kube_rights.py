"""The rights that requests to an API server need, as it has them authorized."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

# Verb, group of the API, and resource, such as pods or pods/log.
Right: TypeAlias = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """What a request needs: each of these verbs of a resource of a group."""

    verbs: tuple[str, ...]
    group: str
    resource: str


def needed(method: str, path: str, asked: Mapping[str, str]) -> Needed | None:
    """Return what a request for objects needs, None for one that every account may make."""
    top, _, rest = path.partition("/namespaces/")
    if not rest:
        return None
    group = top.removeprefix("/apis/").rpartition("/")[0] if top.startswith("/apis/") else ""
    _, *parts = rest.split("/")
    if not parts:
        return Needed(verbs=("get",), group="", resource="namespaces")
    resource = "/".join((parts[0], *parts[2:]))
    match method:
        case "GET":
            verb = "watch" if "watch" in asked else "get" if parts[1:] else "list"
        case _:
            verb = {"PATCH": "patch", "DELETE": "delete", "POST": "create"}[method]
    return Needed(verbs=(verb,), group=group, resource=resource)


def forbidden(verb: str, group: str, resource: str, namespace: str) -> str:
    """Return the words of an API server for what an account may not do."""
    named = f"{resource}.{group}" if group else resource
    in_group = f'in API group "{group}" in the namespace "{namespace}"'
    return f'{named} is forbidden: User "reconciler" cannot {verb} resource "{resource}" {in_group}'
