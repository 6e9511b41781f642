"""Choose the revision that should serve, the one to fall back to, and the instance of a revision that is to stay."""

from dataclasses import replace

from reconciler.planning.apps.app import App
from reconciler.planning.apps.failures import has_failed
from reconciler.planning.apps.observed import ExternalInputs, Instance, Observed
from reconciler.planning.apps.revision import Revision


def desired_revision(app: App, observed: Observed) -> Revision:
    """Return the revision that the manifest describes: the known good one if that is equal, as its id is known."""
    assert observed.source is not None
    desired = observed.inputs.revision(app, observed.source.content)
    return next((known_good for known_good in observed.known_good if known_good == desired), desired)


def rolled_back(app: App, observed: Observed) -> Revision | None:
    """Return the revision that an operator rolled back to, None once the desired revision has changed since."""
    override = observed.override
    assert observed.source is not None
    if override is None or override.revision is None or override.holds_for != app.revision(observed.source.content).id:
        return None
    return _if_staged(as_of_today(app, override.revision, observed.inputs), observed)


def fallback(app: App, target: Revision | None, observed: Observed) -> Revision | None:
    """Return the newest known good revision that is not the target, as it can serve today; None if there is none."""
    for known_good in observed.known_good:
        back = _if_staged(as_of_today(app, known_good, observed.inputs), observed)
        if back is not None and (target is None or target.id not in {back.id, known_good.id}):
            return back
    return None


def as_of_today(app: App, earlier: Revision, inputs: ExternalInputs) -> Revision | None:
    """Return an earlier revision with the app's addresses and today's credentials; None if it lacks a service."""
    here = earlier
    if earlier.addresses != app.addresses:
        here = replace(earlier, address=app.address, beside=app.beside)
    return inputs.todays(here)


def best_instance(revision: Revision, observed: Observed) -> Instance | None:
    """Return the one instance of the revision to keep: a ready one first, then the oldest; None if none may stay."""
    fitting = [
        i
        for i in observed.alive
        if i.revision == revision.id
        and i.stopping_since is None
        and not i.detached
        and not i.outgrown
        and not has_failed(i, observed)
        and i.started_at >= observed.restart_before
    ]
    return min(fitting, key=lambda i: (not i.ready, i.started_at), default=None)


def _if_staged(revision: Revision | None, observed: Observed) -> Revision | None:
    return revision if revision is not None and revision.build.id in observed.builds else None
