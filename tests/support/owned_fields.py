"""The fields of objects of a scripted API server: who owns which, and what an apply makes of them."""

from collections.abc import Mapping
from typing import Any, TypeAlias

Object: TypeAlias = dict[str, Any]


def bare(made: Object) -> Object:
    metadata = {
        name: each for name, each in made["metadata"].items() if name not in {"resourceVersion", "managedFields"}
    }
    owned = [[each["manager"], each["paths"]] for each in made["metadata"].get("managedFields", ())]
    return {**made, "metadata": {**metadata, "owned": owned}}


def owners(made: Object) -> dict[str, set[tuple[str, ...]]]:
    return {each["manager"]: set(map(tuple, each["paths"])) for each in made["metadata"].get("managedFields", ())}


def fields(paths: set[tuple[str, ...]]) -> Object:
    """Owned fields as an API server says them."""
    found: Object = {}
    for path in sorted(paths):
        inner = found
        for name in path:
            inner = inner.setdefault(f"f:{name}", {})
    return found


def leaves(made: Mapping[str, Any], path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for name, value in made.items():
        if not path and name in {"kind", "apiVersion", "status"}:
            continue
        here = (*path, name)
        if here in {("metadata", "name"), ("metadata", "namespace")} or here[-1] in {"uid", "managedFields"}:
            continue
        found |= leaves(value, here) if isinstance(value, Mapping) and value else {here}
    return found


def merged(before: Any, wanted: Any) -> Any:
    if not isinstance(before, Mapping) or not isinstance(wanted, Mapping):
        return wanted
    return {**before, **{name: merged(before.get(name), value) for name, value in wanted.items()}}


def at(made: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        made = made.get(name) if isinstance(made, Mapping) else None
    return made


def remove(made: Object, path: tuple[str, ...]) -> None:
    for name in path[:-1]:
        made = made.get(name) or {}
    made.pop(path[-1], None)


def status_of(code: int, reason: str, message: str) -> Object:
    """Return the answer to a request that is not done, or has nothing else to say."""
    return {"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": message}


def has_labels(made: Object, asked: Mapping[str, str]) -> bool:
    """Return whether an object has the labels that a request asks for."""
    labels = made["metadata"].get("labels", {})
    pairs = (each.partition("=") for each in asked.get("labelSelector", "").split(",") if each)
    return all(labels.get(name) == value for name, _, value in pairs)
