"""Say which objects of a cluster are ours, and what of them differs from what is desired.

An object is ours by the id of this installation, in a label or as the manager of its fields. No other is ever touched.
"""

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

from reconciler.cluster.versions import in_version
from reconciler.planning.fingerprint import fingerprint

Seen: TypeAlias = Mapping[str, Any]

INSTALLATION = "reconciler.dev/installation"
APP = "reconciler.dev/app"
PART = "reconciler.dev/part"
REVISION = "reconciler.dev/revision"
CONTENT = "reconciler.dev/content"
ADOPT = "reconciler.dev/adopt"
RESTARTED = "reconciler.dev/restarted"
_QUANTITY = re.compile(r"([0-9.]+)(n|u|m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_UNITS = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
}  # fmt: skip
_MOST_TOLD = 3


def manager_of(installation: str) -> str:
    """Return the name under which an installation owns fields."""
    return f"reconciler/{installation}"


def key_of(seen: Seen) -> tuple[str, str]:
    """Return the kind and the name of an object."""
    return str(seen["kind"]), str(seen["metadata"]["name"])


def marked(made: Seen, installation: str, revision: str) -> dict[str, Any]:
    """Return an object as one of this installation, for a revision; the pods that it makes are so, too."""
    found: dict[str, Any] = json.loads(json.dumps(made))
    content = fingerprint(json.dumps(found, sort_keys=True))
    metadata = found["metadata"]
    metadata["labels"] = {**metadata.get("labels", {}), INSTALLATION: installation}
    spec = found.get("spec", {})
    for template in (spec.get("template"), spec.get("jobTemplate", {}).get("spec", {}).get("template")):
        if isinstance(template, dict):
            of_pods = template.setdefault("metadata", {})
            of_pods["labels"] = {**of_pods.get("labels", {}), INSTALLATION: installation}
    # What does not change with the revision would be applied for each one otherwise.
    metadata["annotations"] = {**metadata.get("annotations", {}), CONTENT: content}
    if found["kind"] in {"Deployment", "Job"}:
        metadata["annotations"][REVISION] = revision
    return found


def app_of(seen: Seen) -> str:
    """Return the app of an object, as its label says, "" without one."""
    return str((seen["metadata"].get("labels") or {}).get(APP, ""))


def is_ours(seen: Seen, installation: str) -> bool:
    """Return whether an object is this installation's, even if its label was taken away."""
    metadata = seen.get("metadata", {})
    if (metadata.get("labels") or {}).get(INSTALLATION) == installation:
        return True
    return any(each.get("manager") == manager_of(installation) for each in metadata.get("managedFields") or ())


def may_be_taken(seen: Seen, app: str, installation: str) -> str:
    """Return why an object that exists must not be changed, "" if it may be: it is ours, or given to us."""
    metadata = seen.get("metadata", {})
    if is_ours(seen, installation) or (metadata.get("annotations") or {}).get(ADOPT) == app:
        return ""
    kind, name = key_of(seen)
    other = (metadata.get("labels") or {}).get(INSTALLATION)
    makers = [str(each.get("manager")) for each in metadata.get("managedFields") or () if each.get("manager")]
    maker = f"another installation of reconciler, {other}" if other else (makers[0] if makers else "another program")
    remedy = f"delete it, rename the app, or annotate it {ADOPT}={app}"
    return f"{kind} {name} exists, and was made by {maker}: {remedy}"


def kept_replicas(desired: Seen, seen: Seen, installation: str) -> Seen | None:
    """Return what keeps the replicas of a Deployment that is to have as many as an autoscaler says, None if nothing.

    A field that its only owner no longer applies goes back to its default, which is a single replica.
    """
    count = (seen.get("spec") or {}).get("replicas")
    if desired["kind"] != "Deployment" or "replicas" in desired["spec"] or count is None:
        return None
    owners = seen["metadata"].get("managedFields") or ()
    ours = (each.get("fieldsV1") or {} for each in owners if each.get("manager") == manager_of(installation))
    if not any(_has_field(fields, "spec.replicas") for fields in ours):
        return None
    name = {"name": seen["metadata"]["name"]}
    return {"apiVersion": desired["apiVersion"], "kind": "Deployment", "metadata": name, "spec": {"replicas": count}}


def differences(desired: Seen, seen: Seen) -> tuple[str, ...]:
    """Return the fields of an object that are not as desired; those that only the cluster has are not meant."""
    if version := str(seen.get("apiVersion") or ""):
        desired, _ = in_version(desired, version)
    found = list(_differing(desired, seen, ""))
    return tuple(found[:_MOST_TOLD])


def conflict_of(desired: Seen, seen: Seen) -> str:
    """Return what stands for an object as it is desired beside what is seen of it now, its status apart."""
    metadata = seen["metadata"]
    given = {name: metadata.get(name) for name in ("uid", "labels", "annotations")}
    return fingerprint(json.dumps([desired, given, {**seen, "metadata": None, "status": None}], sort_keys=True))


def changed_by(seen: Seen, installation: str, path: str) -> str:
    """Return who else has a field of an object, or has changed the object last, "" if that is not known."""
    others = [
        each
        for each in seen.get("metadata", {}).get("managedFields") or ()
        if each.get("manager") not in {None, "", manager_of(installation)} and not each.get("subresource")
    ]
    having = [each for each in others if _has_field(each.get("fieldsV1") or {}, path)]
    # A server before 1.22 does not say who has changed the status alone, as its controllers do.
    writing = [each for each in others if (each.get("fieldsV1") or {"f:spec": {}}).keys() - {"f:status", "f:metadata"}]
    last = max(having or writing, key=lambda each: str(each.get("time") or ""), default=None)
    return "" if last is None else str(last["manager"])


def as_kept(seen: Seen, installation: str) -> Seen:
    """Return an object without what is not asked for once it was seen.

    Of pods their metadata and status are left. Of who owns fields it is what the functions above look at: whether
    replicas are ours, and what others have beside the status.
    """
    metadata = {name: each for name, each in seen["metadata"].items() if name != "managedFields"}
    if seen["kind"] == "Pod":
        return {**{name: each for name, each in seen.items() if name != "spec"}, "metadata": metadata}
    if owners := seen["metadata"].get("managedFields"):
        ours = manager_of(installation)
        metadata["managedFields"] = [
            _as_kept(each, is_ours=each.get("manager") == ours)
            for each in owners
            if each.get("manager") == ours or not each.get("subresource")
        ]
    return {**seen, "metadata": metadata}


def _as_kept(owner: Seen, *, is_ours: bool) -> Seen:
    fields = owner.get("fieldsV1") or {}
    kept: dict[str, Any]
    if is_ours:
        kept = {"f:spec": {"f:replicas": {}}} if _has_field(fields, "spec.replicas") else {}
        return {"manager": owner["manager"], "fieldsV1": kept}
    kept = {name: {} if name == "f:status" else each for name, each in fields.items()}
    return {"manager": owner.get("manager"), "time": owner.get("time"), "fieldsV1": kept}


def _has_field(owned: Any, path: str) -> bool:
    """Return whether fields, as managedFields has them, contain the one at a path such as `spec.env[A].value`."""
    for name in filter(None, re.split(r"\.|(\[[^][]*+\])", path)):
        if not isinstance(owned, Mapping):
            return False
        if name.startswith("["):
            item = f'"name":"{name[1:-1]}"'
            owned = next((each for key, each in owned.items() if key.startswith("k:") and item in key), None)
        else:
            owned = owned.get(f"f:{name}")
    return owned is not None


def _differing(desired: Any, seen: Any, path: str) -> Iterator[str]:
    if isinstance(desired, Mapping):
        if not isinstance(seen, Mapping):
            if desired:  # an empty one is left out where it is kept
                yield path
            return
        for name, value in desired.items():
            if name in {"apiVersion", "kind"} and not path:
                continue
            yield from _differing(value, seen.get(name), f"{path}.{name}" if path else str(name))
    elif isinstance(desired, list):
        yield from _differing_list(desired, seen, path)
    elif not _is_same(desired, seen):
        yield path


def _differing_list(desired: list[Any], seen: Any, path: str) -> Iterator[str]:
    if not isinstance(seen, list):
        if desired:
            yield path
        return
    if all(isinstance(each, Mapping) and "name" in each for each in (*desired, *seen)) and desired:
        known = {each["name"]: each for each in seen}
        for each in desired:
            yield from _differing(each, known.get(each["name"]), f"{path}[{each['name']}]")
        return
    if len(desired) != len(seen):
        yield path
        return
    for index, (one, other) in enumerate(zip(desired, seen, strict=True)):
        yield from _differing(one, other, f"{path}[{index}]")


def _is_same(desired: Any, seen: Any) -> bool:
    if desired == seen or (seen is None and desired in (0, "", False)):
        return True
    return amount(desired) is not None and amount(desired) == amount(seen)


def amount(value: Any) -> Decimal | None:
    """Return a quantity as Kubernetes writes it, such as 500m or 1Gi, as a number; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    found = _QUANTITY.fullmatch(str(value))
    try:
        return None if found is None else Decimal(found[1]) * _UNITS[found[2] or ""]
    except InvalidOperation:
        return None
