"""Keep what operators have asked of an app in a cluster, and make objects as that says. Pure.

`noted` is what is on record of an app there. A process that is stopped has no pods until its manifest says something
else of it; a restart is carried out once, by whichever daemon finishes it.
"""

import json
from collections.abc import Mapping
from typing import Any

from reconciler.cluster.ownership import PART, RESTARTED
from reconciler.planning.apps.app import App
from reconciler.planning.fingerprint import canonical, fingerprint
from reconciler.planning.processes.process import Process

Noted = Mapping[str, Any]
_PROCESS = "process."


def with_request(noted: Noted, process: Process, kind: str, now: str) -> dict[str, Any]:
    """Return what is on record of processes once a `restart`, `stop` or `start` of one is asked for."""
    processes: dict[str, dict[str, str]] = dict(noted.get("processes") or {})
    known = processes.get(process.name, {})
    if kind == "restart":
        known = {**known, "restarted": now}
    else:
        known = {**known, "stopped": _fingerprint(process) if kind == "stop" else ""}
    return {**processes, process.name: known}


def as_requested(made: Mapping[str, Any], app: App, noted: Noted) -> Mapping[str, Any]:
    """Return a Deployment as operators have asked for it last; any other object as it is."""
    if made["kind"] != "Deployment":
        return made
    part = str((made["metadata"].get("labels") or {}).get(PART, ""))
    of_part: Mapping[str, str] = {}
    if part.startswith(_PROCESS):
        of_part = (noted.get("processes") or {}).get(part.removeprefix(_PROCESS)) or {}
    asked_at = max(str(noted.get("restarted", "")), of_part.get("restarted", ""))
    stopped = of_part.get("stopped") in {
        _fingerprint(each) for each in app.processes if f"{_PROCESS}{each.name}" == part
    }
    if not asked_at and not stopped:
        return made
    found: dict[str, Any] = json.loads(json.dumps(made))
    if asked_at:
        metadata = found["spec"]["template"].setdefault("metadata", {})
        metadata["annotations"] = {**metadata.get("annotations", {}), RESTARTED: asked_at}
    if stopped:
        found["spec"]["replicas"] = 0
    return found


def _fingerprint(process: Process) -> str:
    return fingerprint(canonical(process))
