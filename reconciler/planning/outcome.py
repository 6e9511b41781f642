"""Judge from a plan whether an app or a service is as its manifest asks, for a client that waits for that. Pure.

An outcome is about what is desired now: a failure counts only while the plan is still about what failed.
"""

from typing import Any, Literal, TypeAlias

from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Failure, Observed
from reconciler.planning.apps.worker_number import scaled
from reconciler.planning.plan import Plan
from reconciler.planning.reason import HELD_BY_OPERATOR, KEPT_WITHOUT_MANIFEST, Reason
from reconciler.planning.states import SEVERITIES

# `refused` is of a manifest; all others are of a plan. `under-way` goes on by itself, `failed` is tried again.
Outcome: TypeAlias = Literal["up-to-date", "on-probation", "under-way", "failed", "held", "refused"]


def app_outcome(app: App | None, planned: Plan[Any], observed: Observed, now: float) -> Outcome:
    """Return the outcome of an app; `app` is None once its manifest was removed, `now` is monotonic seconds."""
    if app is None:
        return "up-to-date" if planned.settled else "under-way"
    if observed.override is not None and planned.reason in HELD_BY_OPERATOR:
        return "held"
    if planned.settled and SEVERITIES[planned.state] == "healthy":
        return "on-probation" if probation_left_s(app, planned, observed, now) > 0 else "up-to-date"
    if app.source.missing:
        return "under-way" if app.source.is_awaited else "failed"
    workers = scaled(app, observed, now).workers_of_failures
    failure = None if planned.wanted is None else observed.failure_of(planned.wanted, workers)
    if failure is not None and failure.last_at <= observed.restart_before and planned.actions:
        return "under-way"  # an operator asked for one more try
    if failure is not None and _counts(failure, planned, observed):
        return "failed"
    if failure is None and planned.reason is Reason.FALLEN_BACK:
        return "under-way"  # an earlier revision serves until the desired one, which was not tried yet, is ready
    if planned.reason in {Reason.WAITING_FOR_INPUTS, Reason.WAITING_FOR_APPS}:
        return "failed" if planned.failures or observed.unknown_dependencies else "under-way"
    return "under-way" if SEVERITIES[planned.state] in {None, "healthy"} else "failed"


def service_outcome(planned: Plan[Any]) -> Outcome:
    """Return the outcome of a service; what is kept after its manifest was removed is as it was asked for."""
    if planned.state == "failing":
        return "failed"
    return (
        "up-to-date"
        if planned.settled or (planned.reason in KEPT_WITHOUT_MANIFEST and not planned.actions)
        else "under-way"
    )


def probation_left_s(app: App, planned: Plan[Any], observed: Observed, now: float) -> float:
    """Return the seconds until the instance that serves has passed its probation, 0 if it has or there is none."""
    if any(known.id == planned.wanted for known in observed.known_good[:1]):
        return 0.0
    ready = [i.ready_at for i in observed.serving if i.revision == planned.wanted and i.ready_at is not None]
    return max((at + app.probation_s - now for at in ready), default=0.0)


def _counts(failure: Failure, planned: Plan[Any], observed: Observed) -> bool:
    """Return whether a revision does not serve because it was rejected, or a known good one keeps crashing."""
    serves = any(i.revision == planned.wanted for i in observed.serving)
    return not serves and (failure.kind == "rejected" or failure.count > 1)
