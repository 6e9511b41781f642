"""Plan one app: the actions, in order, that lead from what is observed to what is desired.

`plan` is a function: the same three arguments give the same plan, and nothing else matters. Its laws: what serves is
never stopped before its successor is ready, no build is removed under an instance, never more than two generations are
alive, a revision that failed is not tried again before its time, and with nothing to change there is nothing to do.
"""

from dataclasses import replace

from reconciler.planning.apps.actions import Action, ForgetApp, ReadSource, RemoveBuild, Unlisten, stops
from reconciler.planning.apps.app import App
from reconciler.planning.apps.assessment import NEVER, READ_AGAIN_S
from reconciler.planning.apps.causes import finishing
from reconciler.planning.apps.failures import reap
from reconciler.planning.apps.observed import Observed, OverrideKind
from reconciler.planning.apps.passing import where_it_listens
from reconciler.planning.apps.plan_instances import ended_canary, plan_serving, state_when_failing
from reconciler.planning.apps.plan_listener import answer_at, answering, listen, serve_holding_page, unlisten
from reconciler.planning.plan import Plan
from reconciler.planning.reason import Cause, Reason
from reconciler.planning.states import AppState

_REMOVED = Cause(Reason.MANIFEST_REMOVED, "its manifest was removed")
_STOPPED_BY_OPERATOR = Cause(Reason.STOPPED_BY_OPERATOR, "stopped by an operator, until its manifest changes")
_MAINTENANCE_BY_OPERATOR = Cause(
    Reason.MAINTENANCE_BY_OPERATOR, "in maintenance by an operator, until its manifest changes"
)
_STOPPED = Cause(Reason.MANIFEST_STOPS, "its manifest says state: stopped")
_MAINTENANCE = Cause(Reason.MAINTENANCE, "its manifest says state: maintenance")


def plan(app: App | None, observed: Observed, now: float) -> Plan[Action]:
    """Plan one app; `app` is None when its manifest was removed, `now` is monotonic seconds."""
    if app is None:
        return ended_canary(_remove(observed), observed)
    app = where_it_listens(app, observed)
    if _is_held_by_operator(app, observed, "stopped"):
        return ended_canary(_shut_down(observed, _STOPPED_BY_OPERATOR), observed)
    if _is_held_by_operator(app, observed, "maintenance"):
        return ended_canary(_maintain(app, observed, _MAINTENANCE_BY_OPERATOR), observed)
    app = app.of_host
    if app.state == "stopped":
        return _wait_for_proxy(observed, _STOPPED) or ended_canary(_shut_down(observed, _STOPPED), observed)
    if app.state == "maintenance":
        return ended_canary(_maintain(app, observed, _MAINTENANCE), observed)
    if app.source.missing:
        return _without_source(app, observed, now)
    if _must_read(app, observed, now):
        return _read(app, observed, now)
    return plan_serving(app, observed, now)


def _is_held_by_operator(app: App, observed: Observed, kind: OverrideKind) -> bool:
    override = observed.override
    return override is not None and override.kind == kind and override.holds_for == app.fingerprint


def _must_read(app: App, observed: Observed, now: float) -> bool:
    source = observed.source
    if source is None or source.source != app.source:
        return True
    return source.stale and (source.problem is None or now >= source.tried_at + READ_AGAIN_S)


# One plan for each state in which nothing is to serve, and one until the source is known.


def _remove(observed: Observed) -> Plan[Action]:
    if (waiting := _wait_for_proxy(observed, _REMOVED)) is not None:
        return waiting
    actions = _stop_everything(observed, _REMOVED)
    unused = (build for build in observed.builds if build not in observed.builds_in_use)
    actions += [RemoveBuild(build=b, cause=_REMOVED.text, reason=_REMOVED.reason) for b in unused]
    if observed.builds_in_use:
        waits = Cause(Reason.STILL_USED, f"{_REMOVED.text}; waiting for its processes and tasks to end")
        return replace(_dependents_first(observed, actions, "stopping", waits), settled=False, reportable=True)
    if actions or observed.has_residue:
        actions.append(ForgetApp(cause=_REMOVED.text, reason=_REMOVED.reason))
    return _dependents_first(observed, actions, "stopping", _REMOVED)


def _shut_down(observed: Observed, cause: Cause) -> Plan[Action]:
    actions = _stop_everything(observed, cause)
    return _dependents_first(observed, actions, "stopping" if actions else "stopped", cause)


def _maintain(app: App, observed: Observed, cause: Cause) -> Plan[Action]:
    """Stop every instance, keep the listener open, and have the daemon answer on it."""
    actions: list[Action] = [*reap(None, observed, 0.0), *listen(app, observed)]
    waiting = _wait_for_dependents(observed, cause)
    if waiting is not None:
        return replace(waiting, actions=tuple(actions), state="maintenance")
    actions += stops(observed.alive, cause)
    actions += unlisten(app, observed)
    return Plan(
        actions=tuple(actions),
        immediate=serve_holding_page(app, observed, cause),
        state="maintenance",
        reason=cause.reason,
        message=cause.text,
        settled=not actions,
    )


def _read(app: App, observed: Observed, now: float) -> Plan[Action]:
    """Take the fingerprint of the source, which says what is to serve; what serves meanwhile stays."""
    cause = Cause(Reason.SOURCE_CHANGED, "its source changed")
    if observed.source is None:
        cause = Cause(Reason.FIRST_TIME, "its source was never read")
    read = ReadSource(
        source=app.source, source_generation=observed.source_generation, cause=cause.text, reason=cause.reason
    )
    answered_at = answer_at(app, observed)
    return Plan(
        actions=(*reap(None, observed, 0.0), read),
        immediate=answering(app, observed, now),
        state="running" if observed.serves else "staging",
        reason=Reason.READING_SOURCE,
        message="reading its source",
        recheck_at=answered_at if now < answered_at < NEVER else None,
    )


def _without_source(app: App, observed: Observed, now: float) -> Plan[Action]:
    """Keep what was read last, and what serves, until the source is on this host."""
    missing, known = app.source, observed.source
    if known is not None:
        as_before = replace(observed, source=replace(known, problem=missing.missing, stale=False))
        planned = plan_serving(replace(app, source=known.source), as_before, now)
        if not missing.is_awaited or planned.reason is not Reason.SOURCE_UNREADABLE:
            return planned
        return replace(planned, state="running" if observed.serves else "pending", reason=Reason.WAITING_FOR_SOURCE)
    answered_at = answer_at(app, observed)
    state: AppState = "pending" if missing.is_awaited else state_when_failing(observed)
    return Plan(
        actions=tuple(reap(None, observed, 0.0)),
        immediate=answering(app, observed, now),
        state="running" if observed.serves else state,
        reason=Reason.WAITING_FOR_SOURCE if missing.is_awaited else Reason.SOURCE_UNREADABLE,
        message=missing.missing,
        recheck_at=answered_at if now < answered_at < NEVER else None,
    )


def _stop_everything(observed: Observed, cause: Cause) -> list[Action]:
    return [
        *reap(None, observed, 0.0),
        *stops(observed.alive, cause),
        *(Unlisten(address=a, cause=cause.text, reason=cause.reason) for a in sorted(observed.listeners, key=str)),
    ]


def _dependents_first(observed: Observed, actions: list[Action], state: AppState, cause: Cause) -> Plan[Action]:
    waiting = _wait_for_dependents(observed, cause)
    if waiting is not None:
        return waiting
    served = [i for i in observed.alive if i.ready]
    text = f"{cause.text}; {finishing('its instance', served)}" if served else cause.text
    return Plan(actions=tuple(actions), state=state, reason=cause.reason, message=text, settled=not actions)


def _wait_for_proxy(observed: Observed, cause: Cause) -> Plan[Action] | None:
    """Serve until the proxy sends no client any more; None once it does not, or cannot be told."""
    if not observed.dialled or not observed.serves:
        return None
    return Plan(
        actions=tuple(reap(None, observed, 0.0)),
        state="stopping",
        reason=Reason.DOMAINS_CHANGED,
        message=f"{cause.text}; waiting until the proxy has withdrawn its domains",
        settled=False,
    )


def _wait_for_dependents(observed: Observed, cause: Cause) -> Plan[Action] | None:
    """Wait for the apps that depend on this one and are stopping too; None if there are none, or nothing to stop."""
    if not observed.stopping_dependents or all(i.end is not None for i in observed.instances):
        return None
    return Plan(
        actions=(),
        state="stopping",
        reason=Reason.WAITING_FOR_DEPENDENTS,
        message=f"{cause.text}; waiting for {', '.join(observed.stopping_dependents)} to stop",
    )
