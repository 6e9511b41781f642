"""Decide whether an app that has got a socket still listens at the port that it had leased before.

It passes to the socket with its next deploy: an upgrade of the daemon restarts nothing, and takes nothing back that an
operator asked for.
"""

from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Observed
from reconciler.planning.apps.revision_choice import desired_revision, rolled_back


def where_it_listens(app: App, observed: Observed) -> App:
    """Return the app at its leased port, as long as what it served there last is what is asked for; else as it is."""
    if app.leased is None:
        return app
    before = app.at_its_lease
    if app.source.missing or observed.source is None or observed.inputs.missing:
        is_there = any(i.address == app.leased for i in observed.alive)
        is_there |= app.leased in observed.listeners and app.address not in observed.listeners
        return before if is_there else app
    if rolled_back(before, observed) is not None:
        return before
    served = {i.revision for i in observed.alive} | {observed.sleep_state.gate_passed}
    served |= {known_good.id for known_good in observed.known_good[:1]}
    return before if desired_revision(before, observed).id in served else app
