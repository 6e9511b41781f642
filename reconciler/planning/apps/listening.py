"""Where an app listens, and who answers there: an instance, nobody for a while, or the daemon."""

from reconciler.planning.apps.actions import Action, ArmActivation, Listen, ServeHoldingPage, StopHoldingPage, Unlisten
from reconciler.planning.apps.observed import Observed
from reconciler.planning.desired import App

_NEVER = float("inf")


def listeners(app: App, observed: Observed, now: float) -> tuple[Action, ...]:
    """Who answers at the listener meanwhile: an instance, nobody for a while, or the daemon."""
    if observed.serves:
        return _stop_holding_page(observed, "an instance serves")
    if app.address not in observed.listeners:
        return ()
    if dormant(app, observed):
        attend = ArmActivation(address=app.address, cause="it sleeps")
        return (*_stop_holding_page(observed, "it sleeps"), *(() if app.address in observed.armed else (attend,)))
    return serve_holding_page(app, observed) if now >= answer_at(app, observed) else ()


def answer_at(app: App, observed: Observed) -> float:
    """When clients will have waited for long enough, so that the daemon is to answer them."""
    since = observed.unserved_since
    if since is None or app.address not in observed.listeners - observed.holding or dormant(app, observed):
        return _NEVER
    return max(since, observed.sleep_state.activated_at or -_NEVER) + app.patience_s


def dormant(app: App, observed: Observed) -> bool:
    """True for an app that may sleep and nobody asked for: it sleeps, was started only to be gated, or is lazy."""
    if observed.sleep_state.activated_at is not None:
        return False
    if observed.sleep_state.gate_passed is not None:
        return app.may_sleep
    return app.lazy and not observed.serves


def listen(app: App, observed: Observed) -> tuple[Listen, ...]:
    """Open the listener the app asks for, unless it is open."""
    if app.address in observed.listeners:
        return ()
    return (Listen(address=app.address, cause=f"{app.address} is not open"),)


def unlisten(app: App, observed: Observed) -> tuple[Unlisten, ...]:
    """Close every listener but the one the app asks for."""
    extra = sorted(observed.listeners - {app.address}, key=str)
    return tuple(Unlisten(address=a, cause=f"it listens on {app.address} now") for a in extra)


def move(app: App, observed: Observed) -> tuple[Listen | Unlisten, ...]:
    """Listen where the app is asked to, and no longer where no instance does: the address may be wanted by another."""
    used = {i.address for i in observed.alive}
    return (*listen(app, observed), *(u for u in unlisten(app, observed) if u.address not in used))


def serve_holding_page(app: App, observed: Observed) -> tuple[ServeHoldingPage, ...]:
    """Have the daemon answer at the app's listener, unless it does."""
    if app.address in observed.holding:
        return ()
    return (ServeHoldingPage(address=app.address, page=app.holding_page, cause="nothing can serve"),)


def _stop_holding_page(observed: Observed, cause: str) -> tuple[StopHoldingPage, ...]:
    return tuple(StopHoldingPage(address=a, cause=cause) for a in sorted(observed.holding, key=str))
