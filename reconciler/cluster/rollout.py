"""Say how far a cluster is with what was applied, in its own words. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

from reconciler.cluster.ownership import Seen
from reconciler.linux.dataclass import dataclass

Progress: TypeAlias = Literal["done", "underway", "failed"]
_DEADLINE_S = 600  # the default of Kubernetes
_QUIET = frozenset(("ContainerCreating", "PodInitializing"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far an object is, `serving` whether it serves meanwhile, and a sentence without its end."""

    progress: Progress
    text: str = ""
    serving: bool = True


DONE = Standing(progress="done")


def available_pods(each: Seen) -> int:
    """Return how many pods of an object serve, as its cluster says; 0 for what has none."""
    return int(each.get("status", {}).get("availableReplicas") or 0)


def standing_of(deployment: Seen, pods: Iterable[Seen]) -> Standing:
    """Return how far a Deployment is with its rollout."""
    spec, status = deployment.get("spec", {}), deployment.get("status", {})
    wanted = int(spec.get("replicas", 1) or 0)
    ready, updated = available_pods(deployment), int(status.get("updatedReplicas") or 0)
    total = int(status.get("replicas") or 0)
    seen_last = int(status.get("observedGeneration") or 0) >= int(deployment["metadata"].get("generation") or 0)
    if seen_last and ready >= wanted and updated >= wanted and total <= updated:
        return DONE
    conditions = _conditions(status)
    why = next(_troubles(pods), "")
    progressing, failure = conditions.get("Progressing", {}), conditions.get("ReplicaFailure", {})
    if failure.get("status") == "True":
        why = str(failure.get("message") or why)
    counted = f"{updated} of {wanted} new, {ready} ready"
    is_late = seen_last and progressing.get("reason") == "ProgressDeadlineExceeded"
    if is_late and not why:  # a kubelet says of a pod neither that its readiness probe fails nor how
        why = f"what is new was not ready within {spec.get('progressDeadlineSeconds', _DEADLINE_S)} s"
    text = f"{counted}: {why}" if why else counted
    if is_late:
        return Standing(progress="failed", text=text, serving=ready > 0)
    if seen_last and updated >= wanted and total <= updated:  # it was rolled out before
        return Standing(
            progress="underway", text=f"{ready} of {wanted} ready{f': {why}' if why else ''}", serving=ready > 0
        )
    return Standing(progress="underway", text=text, serving=ready > 0)


def standing_of_job(job: Seen, pods: Iterable[Seen]) -> Standing:
    """Return how far a Job is that runs once."""
    conditions = _conditions(job.get("status", {}))
    if conditions.get("Complete", {}).get("status") == "True":
        return DONE
    why = next(_troubles(pods), "")
    failed = conditions.get("Failed", {})
    if failed.get("status") == "True":
        text = str(failed.get("message") or "it failed")
        return Standing(progress="failed", text=f"{text}: {why}" if why else text)
    return Standing(progress="underway", text=why)


def _conditions(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {str(each.get("type")): each for each in status.get("conditions") or ()}


def _troubles(pods: Iterable[Seen]) -> Iterator[str]:
    """Yield what keeps pods from being ready, as kubelets and the scheduler say it."""
    for pod in pods:
        status = pod.get("status", {})
        for each in status.get("containerStatuses") or ():
            state, last = each.get("state") or {}, (each.get("lastState") or {}).get("terminated") or {}
            waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
            reason = waiting.get("reason") or (ended.get("reason") if ended.get("exitCode") else None)
            if not reason or reason in _QUIET:
                continue
            told = waiting.get("message") or ended.get("message") or last.get("message") or ""
            yield f"{reason}: {_last_line(told)}" if told else str(reason)
        scheduled = _conditions(status).get("PodScheduled", {})
        if scheduled.get("status") == "False":
            yield f"{scheduled.get('reason')}: {scheduled.get('message')}"


def _last_line(text: str) -> str:
    return (str(text).strip().splitlines() or [""])[-1][:300]


def is_ready(pod: Seen) -> bool:
    """Return whether a pod serves, as its kubelet says."""
    conditions = (pod.get("status") or {}).get("conditions")
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions or ())
