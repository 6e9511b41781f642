"""Plan an app's listeners: which to open and close, and what answers on them: an instance, the daemon, or nothing yet.

An app without an address has no listener: nothing is opened or held for it, and whatever is still open is closed. One
with a port beside its socket has two, of which each is seen to by itself.
"""

from collections.abc import Iterable

from reconciler.planning.address import Address
from reconciler.planning.apps.actions import Action, ArmActivation, Listen, ServeHoldingPage, StopHoldingPage, Unlisten
from reconciler.planning.apps.app import App
from reconciler.planning.apps.moving import is_moving_away
from reconciler.planning.apps.observed import Observed
from reconciler.planning.reason import Cause, Reason

_NEVER = float("inf")
_NOT_SERVING = Cause(Reason.NOT_SERVING, "no instance can serve")
_SERVING = Cause(Reason.SERVING, "an instance serves")
_SLEEPING = Cause(Reason.SLEEPING, "it is sleeping")


def answering(app: App, observed: Observed, now: float) -> tuple[Action, ...]:
    """Decide what answers on the listener: an instance, or the daemon once a client has waited long enough."""
    served = _stop_holding_page((a for a in observed.holding if observed.serves_at(a)), _SERVING)
    unserved = _unserved(app, observed)
    if not unserved:
        return served
    if dormant(app, observed) and not observed.serves:
        arms = (ArmActivation(address=a, cause=_SLEEPING.text, reason=_SLEEPING.reason) for a in unserved)
        return (
            *_stop_holding_page(observed.holding, _SLEEPING),
            *(arm for arm in arms if arm.address not in observed.armed),
        )
    if now < answer_at(app, observed):
        return served
    held = serve_holding_page(app, observed, _NOT_SERVING)
    return (*served, *(each for each in held if each.address in unserved))


def answer_at(app: App, observed: Observed) -> float:
    """Return when clients have waited for as long as the app's patience, so that the daemon is to answer them."""
    since = observed.unserved_since
    is_answered = observed.holding.issuperset(_unserved(app, observed))
    if since is None or is_answered or (dormant(app, observed) and not observed.serves):
        return _NEVER
    return max(since, observed.sleep_state.activated_at or -_NEVER) + app.patience_s


def dormant(app: App, observed: Observed) -> bool:
    """Whether no instance is wanted until a connection: it sleeps, it was started only to pass its gate, or is lazy."""
    if observed.sleep_state.activated_at is not None or not app.may_sleep:
        return False
    return observed.sleep_state.gate_passed is not None or (app.lazy and not observed.serves)


def listen(app: App, observed: Observed) -> tuple[Listen, ...]:
    """Open the app's listeners, unless they are open."""
    absent = (address for address in app.addresses if address not in observed.listeners)
    return tuple(Listen(address=a, cause=f"{a} is not open", reason=Reason.NOT_LISTENING) for a in absent)


def unlisten(app: App, observed: Observed) -> tuple[Unlisten, ...]:
    """Close every listener but the app's, and those at which the proxy still reaches it; none while it moves away."""
    if is_moving_away(app, observed):
        return ()
    extra = sorted((observed.listeners - observed.dialled).difference(app.addresses), key=str)
    text = "it has no listener now"
    if app.addresses:
        text = f"it listens on {' and '.join(map(str, app.addresses))} now"
    return tuple(Unlisten(address=a, cause=text, reason=Reason.ADDRESS_CHANGED) for a in extra)


def move(app: App, observed: Observed) -> tuple[Listen | Unlisten, ...]:
    """Listen at the app's addresses, and close what no instance listens on: another app may need that address.

    While an instance serves elsewhere, an address is opened only with the instance that is to serve there.
    """
    used = {address for i in observed.alive for address in i.addresses}
    closed = tuple(u for u in unlisten(app, observed) if u.address not in used)
    opened = (step for step in listen(app, observed) if not _is_served_elsewhere(step.address, observed))
    return (*opened, *closed)


def stay(app: App, observed: Observed) -> tuple[Listen | Unlisten, ...]:
    """Do as `move` while no instance is to be started: an address where clients would wait in vain is closed."""
    used = {address for i in observed.alive for address in i.addresses}
    vain = [a for a in app.addresses if a in observed.listeners - used and _is_served_elsewhere(a, observed)]
    told = {address: f"no instance listens on {address} yet" for address in vain}
    closed = (Unlisten(address=a, cause=text, reason=Reason.ADDRESS_CHANGED) for a, text in told.items())
    return (*closed, *move(app, observed))


def _is_served_elsewhere(address: Address, observed: Observed) -> bool:
    return observed.serves and not observed.serves_at(address)


def _unserved(app: App, observed: Observed) -> tuple[Address, ...]:
    """Return the open listeners of an app at which no instance serves."""
    return tuple(a for a in app.addresses if a in observed.listeners and not observed.serves_at(a))


def serve_holding_page(app: App, observed: Observed, cause: Cause) -> tuple[ServeHoldingPage, ...]:
    """Have the daemon answer at the app's open listeners, unless it does."""
    found = (address for address in app.addresses if address in observed.listeners - observed.holding)
    return tuple(
        ServeHoldingPage(address=a, page=app.holding_page, cause=cause.text, reason=cause.reason) for a in found
    )


def _stop_holding_page(addresses: Iterable[Address], cause: Cause) -> tuple[StopHoldingPage, ...]:
    return tuple(StopHoldingPage(address=a, cause=cause.text, reason=cause.reason) for a in sorted(addresses, key=str))
