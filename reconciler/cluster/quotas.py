"""What the bounds of a namespace, as a cluster tells them, leave of its pods. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from reconciler.cluster.ownership import amount
from reconciler.planning.apps.app import App

Items = Sequence[Mapping[str, Any]]
# What a quota may ask each pod to say, and the field of a manifest that says it.
_ASKED = {
    "requests.cpu": "cpu", "limits.cpu": "cpu", "cpu": "cpu",
    "requests.memory": "memory", "limits.memory": "memory", "memory": "memory",
}  # fmt: skip
_OF_PODS = frozenset((*_ASKED, "pods", "count/deployments.apps", "count/jobs.batch", "count/services", "services"))


def full(quotas: Items) -> list[str]:
    """Return what of a namespace is used up, such as `pods 10 of 10`."""
    return [
        f"{name} {used[name]} of {hard[name]}"
        for quota in quotas
        for hard, used in [(_part(quota, "hard"), _part(quota, "used"))]
        for name in sorted(hard)
        if name in _OF_PODS and name in used and _is_reached(used[name], hard[name])
    ]


def unbounded(quotas: Items, ranges: Items, apps: Sequence[App]) -> dict[str, list[str]]:
    """Return the apps whose pods a quota refuses as they do not say what it asks for, by that."""
    found: dict[str, list[str]] = {}
    for quota in quotas:
        for name in sorted(_part(quota, "hard").keys() & _ASKED.keys()):
            field = _ASKED[name]
            if not _has_default(ranges, field) and (silent := [app.name for app in apps if not _says(app, field)]):
                found[name] = silent
    return found


def outside(ranges: Items, apps: Sequence[App]) -> list[str]:
    """Return a sentence for each app whose pods a LimitRange refuses."""
    return [sentence for app in apps for each in _of_containers(ranges) for sentence in _outside(each, app)]


def _outside(bounds: Mapping[str, Any], app: App) -> Iterator[str]:
    limits = {"cpu": app.limits.cpu, "memory": app.limits.memory}
    for name, least in sorted((bounds.get("min") or {}).items()):
        said, low = limits.get(name), amount(least)
        if said is not None and low is not None and Decimal(str(said)) < low:
            yield f"a LimitRange asks for {name} of {least} at least, which {app.name} does not have"
    for name, most in sorted((bounds.get("max") or {}).items()):
        said, high = limits.get(name), amount(most)
        if said is not None and high is not None and Decimal(str(said)) > high:
            yield f"a LimitRange allows {name} of {most} at most, which {app.name} exceeds"


def _says(app: App, field: str) -> bool:
    parts = (app.limits, *(process.limits for process in app.processes))
    return all(getattr(limits, field) is not None for limits in parts)


def _has_default(ranges: Items, field: str) -> bool:
    return any(field in (each.get("default") or {}) for each in _of_containers(ranges))


def _of_containers(ranges: Items) -> Iterator[Mapping[str, Any]]:
    for each in ranges:
        yield from (bounds for bounds in _part(each, "limits", "spec") or () if bounds.get("type") == "Container")


def _part(item: Mapping[str, Any], name: str, of: str = "status") -> Any:
    return (item.get(of) or {}).get(name) or {}


def _is_reached(used: object, hard: object) -> bool:
    one, other = amount(used), amount(hard)
    return one is not None and other is not None and one >= other
