"""Choose how many workers an app is to have now: as many as its manifest says, or as its load asks for."""

from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Instance, Observed
from reconciler.planning.reason import Cause, Reason
from reconciler.planning.wording import counted


def scaled(app: App, observed: Observed) -> App:
    """Return the app with the number of workers that it is to have now.

    Without a decision about one with a range, as when the daemon has just started, that of what serves stays.
    """
    if app.worker_range is None:
        return app
    if observed.scaling is not None and observed.scaling.decision is not None:
        return app.with_workers(app.worker_range.within(observed.scaling.decision.workers))
    present = max((instance.workers for instance in observed.serving), default=app.workers)
    return app.with_workers(app.worker_range.within(present))


def why_scaled(app: App, instance: Instance, observed: Observed) -> str:
    """Return why a running instance is to have as many workers as the app, in an operator's words."""
    decision = None if observed.scaling is None or app.worker_range is None else observed.scaling.decision
    if decision is not None and decision.cause:
        return decision.cause
    return f"{counted(app.workers, 'worker')} desired, {instance.workers} running"


def saturation(app: App, observed: Observed) -> Cause | None:
    """Return what is to be told of an app whose requests wait with all the workers that it gets."""
    if app.worker_range is None or observed.scaling is None or not observed.scaling.saturated:
        return None
    return Cause(Reason.SATURATED, f"saturated: {observed.scaling.saturated}")
