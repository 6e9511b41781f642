"""Plan an app's listeners: which to open and close, and what answers on them: an instance, the daemon, or nothing yet.

An app without an address has no listener: nothing is opened or held for it, and whatever is still open is closed.
"""

from collections.abc import Iterable

from reconciler.planning.address import Address
from reconciler.planning.apps.actions import Action, ArmActivation, Listen, ServeHoldingPage, StopHoldingPage, Unlisten
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Observed
from reconciler.planning.reason import Cause, Reason

_NEVER = float("inf")
_NOT_SERVING = Cause(Reason.NOT_SERVING, "no instance can serve")
_SERVING = Cause(Reason.SERVING, "an instance serves")
_SLEEPING = Cause(Reason.SLEEPING, "it is sleeping")


def answering(app: App, observed: Observed, now: float) -> tuple[Action, ...]:
    """Decide what answers on the listener: an instance, or the daemon once a client has waited long enough."""
    served = _stop_holding_page((a for a in observed.holding if observed.serves_at(a)), _SERVING)
    if app.address is None or app.address not in observed.listeners or observed.serves_at(app.address):
        return served
    if dormant(app, observed) and not observed.serves:
        arm = ArmActivation(address=app.address, cause=_SLEEPING.text, reason=_SLEEPING.reason)
        return (
            *_stop_holding_page(observed.holding, _SLEEPING),
            *(() if app.address in observed.armed else (arm,)),
        )
    return (*served, *(serve_holding_page(app, observed, _NOT_SERVING) if now >= answer_at(app, observed) else ()))


def answer_at(app: App, observed: Observed) -> float:
    """Return when clients have waited for as long as the app's patience, so that the daemon is to answer them."""
    since = observed.unserved_since
    is_answered = app.address not in observed.listeners - observed.holding or observed.serves_at(app.address)
    if since is None or is_answered or (dormant(app, observed) and not observed.serves):
        return _NEVER
    return max(since, observed.sleep_state.activated_at or -_NEVER) + app.patience_s


def dormant(app: App, observed: Observed) -> bool:
    """Whether no instance is wanted until a connection: it sleeps, it was started only to pass its gate, or is lazy."""
    if observed.sleep_state.activated_at is not None or not app.may_sleep:
        return False
    return observed.sleep_state.gate_passed is not None or (app.lazy and not observed.serves)


def listen(app: App, observed: Observed) -> tuple[Listen, ...]:
    """Open the app's listener, unless it is open."""
    if app.address is None or app.address in observed.listeners:
        return ()
    return (Listen(address=app.address, cause=f"{app.address} is not open", reason=Reason.NOT_LISTENING),)


def unlisten(app: App, observed: Observed) -> tuple[Unlisten, ...]:
    """Close every listener but the app's, and those at which the proxy still reaches it."""
    extra = sorted(observed.listeners - observed.dialled - {app.address}, key=str)
    text = "it has no listener now" if app.address is None else f"it listens on {app.address} now"
    return tuple(Unlisten(address=a, cause=text, reason=Reason.ADDRESS_CHANGED) for a in extra)


def move(app: App, observed: Observed) -> tuple[Listen | Unlisten, ...]:
    """Listen at the app's address, and close what no instance listens on: another app may need that address.

    While an instance serves at another address, the app's own is opened only with the instance that is to serve there.
    """
    used = {i.address for i in observed.alive}
    closed = tuple(u for u in unlisten(app, observed) if u.address not in used)
    return closed if _serves_elsewhere(app, observed) else (*listen(app, observed), *closed)


def stay(app: App, observed: Observed) -> tuple[Listen | Unlisten, ...]:
    """Do as `move` while no instance is to be started: an address where clients would wait in vain is closed."""
    moved = move(app, observed)
    if app.address not in observed.listeners or not _serves_elsewhere(app, observed):
        return moved
    if any(i.address == app.address for i in observed.alive):
        return moved
    text = f"no instance listens on {app.address} yet"
    assert app.address is not None
    return (Unlisten(address=app.address, cause=text, reason=Reason.ADDRESS_CHANGED), *moved)


def _serves_elsewhere(app: App, observed: Observed) -> bool:
    return observed.serves and not observed.serves_at(app.address)


def serve_holding_page(app: App, observed: Observed, cause: Cause) -> tuple[ServeHoldingPage, ...]:
    """Have the daemon answer at the app's open listener, unless it does."""
    if app.address is None or app.address not in observed.listeners - observed.holding:
        return ()
    return (ServeHoldingPage(address=app.address, page=app.holding_page, cause=cause.text, reason=cause.reason),)


def _stop_holding_page(addresses: Iterable[Address], cause: Cause) -> tuple[StopHoldingPage, ...]:
    return tuple(StopHoldingPage(address=a, cause=cause.text, reason=cause.reason) for a in sorted(addresses, key=str))
