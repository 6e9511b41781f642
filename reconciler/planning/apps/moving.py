"""Plan what an app that moves to a cluster needs on this host meanwhile, beside what serves: one that slept serves."""

from reconciler.planning.apps.actions import Start
from reconciler.planning.apps.app import HERE, App
from reconciler.planning.apps.failures import next_failure
from reconciler.planning.apps.observed import Observed
from reconciler.planning.reason import Reason


def is_moving_away(app: App, observed: Observed) -> bool:
    """Return whether an app is to be in a cluster, and is not there yet."""
    return app.place != HERE and bool(observed.processes.underway)


def woken(app: App, observed: Observed, now: float) -> tuple[Start, ...]:
    """Start what served last at the listeners that are open, if nothing does: its clients have only these until then.

    What cannot start is not tried again.
    """
    if not is_moving_away(app, observed) or not observed.listeners:
        return ()
    known_good = (each for each in observed.known_good if each.addresses and each.build.id in observed.builds)
    found = next((each for each in known_good if observed.listeners.issuperset(each.addresses)), None)
    if found is None or any(i.addresses and i.stopping_since is None for i in observed.alive):
        return ()
    here = observed.inputs.todays(found)
    if here is None or observed.failure_of(here.id, app.workers_of_failures) is not None:
        return ()
    failing = next_failure(here, app.workers_of_failures, observed, now)
    text = f"it serves here until it does in {app.place}"
    return (Start(revision=here, workers=app.workers, failing=failing, cause=text, reason=Reason.HANDING_OVER),)
