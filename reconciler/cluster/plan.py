"""Plan what an app needs in a cluster: the actions, in order, from what is seen there to what its manifest asks for.

`plan` is a function. Nothing of another installation is in it; what serves is ended by the cluster once its successor
is ready, and what is no longer asked for is deleted only after that. A cluster that cannot be looked at loses nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from reconciler.cluster.actions import Action, ApplyObject, DeleteObject, ForgetPlace, Render
from reconciler.cluster.observed import ObservedPlace, Rendered
from reconciler.cluster.ownership import PART, changed_by, conflict_of, differences, key_of
from reconciler.cluster.rollout import DONE, Standing, available_pods, standing_of, standing_of_job
from reconciler.planning.apps.app import HERE, App
from reconciler.planning.plan import Plan
from reconciler.planning.reason import Cause, Reason
from reconciler.planning.routing.route import Led
from reconciler.planning.states import AppState

_FIRST = "first"
_STEP = "reconciler.dev/step"
# How long connections may wait, at most, for an instance that is to end, and how often that is looked at.
_WAITED_FOR_S, _LOOK_AGAIN_S = 60.0, 0.2
# The order in which they are deleted: what leads clients to an app before what serves them.
_LAST_FIRST = ("HTTPRoute", "Ingress", "HorizontalPodAutoscaler", "CronJob", "Service", "Deployment")


def plan(app: App | None, observed: ObservedPlace, now: float) -> Plan[Action]:
    """Plan one app; `app` is None when it is not to be in this cluster."""
    if not observed.looked:
        why = observed.unseen or f"{observed.place} was not looked at yet"
        return Plan(actions=(), state="pending", reason=Reason.INTERRUPTED, message=why)
    if app is None:
        return _withdrawn(observed, now)
    if observed.revision is None:
        return Plan(actions=(), state="pending", reason=Reason.STAGING, message="its build is not staged yet")
    rendered = observed.rendered
    if rendered is None or (rendered.app, rendered.revision) != (app, observed.revision.id):
        cause = Cause(Reason.CONFIGURATION_CHANGED, f"revision {observed.revision.id} is to run in {observed.place}")
        render = Render(app=app, revision=observed.revision, cause=cause.text, reason=cause.reason)
        return _plan((render,), "staging", cause, observed)
    if rendered.refused:
        state: AppState = "degraded" if _serves_there_alone(observed) else "failing"
        return _plan((), state, Cause(Reason.MANIFEST_REFUSED, rendered.refused), observed)
    planned = _deployed(rendered, observed)
    if planned.reason is not Reason.NONE or not observed.serves_at:
        return planned
    # It is there, also where that cannot be looked at any more.
    overlaps = _overlaps(observed, now)
    waits = _serving_at_both(observed, now, planned.message) if overlaps else _until_led(observed.place, observed, now)
    if waits is None or observed.led in ("there", "nowhere"):
        return waits or planned
    heard_at = (now if observed.stands_since is None else observed.stands_since) + observed.drain_s
    times = (waits.recheck_at, heard_at if now < heard_at else None)  # then the proxy is told
    return replace(waits, recheck_at=min((each for each in times if each is not None), default=None))


def _serves_there_alone(observed: ObservedPlace) -> bool:
    """Return whether pods of before are available, and nothing serves at another place."""
    return not observed.serves_at and any(available_pods(each) for each in observed.seen.values())


def _overlaps(observed: ObservedPlace, now: float) -> bool:
    """Return whether an app that moves is to go on serving where it was, beside where it is to be."""
    if not observed.overlap_s or not observed.serves_at:
        return False
    return observed.both_since is None or now < observed.both_since + observed.overlap_s


def _serving_at_both(observed: ObservedPlace, now: float, besides: str = "") -> Plan[Action]:
    text = f"it serves {_at_both(observed)}, for {observed.overlap_s:g} s"
    cause = Cause(Reason.SERVING_AT_BOTH, f"{text}; {besides}" if besides else text)
    since = now if observed.both_since is None else observed.both_since
    return replace(_plan((), "starting", cause, observed), recheck_at=since + observed.overlap_s)


def _until_led(to: str, observed: ObservedPlace, now: float) -> Plan[Action] | None:
    """Serve at both until the proxy of this host leads clients to the place where they are to go, and a little longer.

    None once it does, or where it leads none.
    """
    if observed.led == "nowhere":
        return None
    where: Led = "there" if to == observed.place else "here" if to == HERE else "elsewhere"
    at = _at(to)
    if observed.led != where:
        text = f"it serves {_at_both(observed)}, until the proxy leads its domains to where it is {at}"
        return _plan((), "starting", Cause(Reason.DOMAINS_CHANGED, text), observed)
    until = observed.led_since + observed.drain_s
    if until <= now < until + _WAITED_FOR_S and observed.waited_for:
        until = now + _LOOK_AGAIN_S
    if now >= until:
        return None
    text = f"the proxy leads its domains to where it is {at}; what it had begun before is answered"
    return replace(_plan((), "starting", Cause(Reason.DOMAINS_CHANGED, text), observed), recheck_at=until)


def _at_both(observed: ObservedPlace) -> str:
    """Return the two places at which an app serves while it moves."""
    return f"{_at(observed.serves_at)} and {_at(observed.place)}"


def _at(place: str) -> str:
    return HERE if place == HERE else f"in {place}"


def _withdrawn(observed: ObservedPlace, now: float) -> Plan[Action]:
    """Delete what an app has there, unless that is not sure to be wanted, or nothing else serves yet."""
    removed = Cause(Reason.MANIFEST_REMOVED, f"no manifest asks for it in {observed.place}")
    if observed.held:
        return _plan((), "running", Cause(Reason.MANIFEST_REFUSED, "its manifest cannot be read"), observed)
    if observed.wanted_at and observed.seen:
        if given_up := _schedules_given_up(observed):
            return given_up
        if not observed.serves_at:
            text = f"it serves in {observed.place} until it serves {_at(observed.wanted_at)}"
            return _plan((), "starting", Cause(Reason.HANDING_OVER, text), observed)
        if _overlaps(observed, now):
            return _serving_at_both(observed, now)
        if (until_led := _until_led(observed.wanted_at, observed, now)) is not None:
            return until_led
    actions: list[Action] = [_delete(each, removed) for each in _in_order(observed.seen)]
    if not actions and observed.left:
        actions.append(ForgetPlace(cause=removed.text, reason=removed.reason))
    return Plan(
        actions=tuple(actions), state="stopping", reason=removed.reason, message=removed.text, settled=not actions
    )


def _schedules_given_up(observed: ObservedPlace) -> Plan[Action] | None:
    """Have no schedule start there any more: they are those of the place that the manifest asks for from then on.

    What runs already comes to its end.
    """
    cause = Cause(Reason.HANDING_OVER, f"its schedules are those of the place where it is to be, {observed.wanted_at}")
    schedules = {key: each for key, each in observed.seen.items() if key[0] == "CronJob"}
    actions = tuple(replace(_delete(each, cause), orphans=True) for each in _in_order(schedules))
    return _plan(actions, "starting", cause, observed) if actions else None


def _deployed(rendered: Rendered, observed: ObservedPlace) -> Plan[Action]:
    """Apply what comes first, wait for the release command, apply the rest, and delete what is left over."""
    for step in (True, False):
        applied = [each for each in rendered.objects if _is_first(each) is step]
        actions = list(_applied(applied, observed))
        if actions:
            return _plan(tuple(actions), "starting", Cause(actions[0].reason, actions[0].cause), observed)
        for job in (each for each in applied if each["kind"] == "Job"):
            standing = standing_of_job(observed.seen[key_of(job)], _pods_of(job, observed))
            if standing != DONE:
                return _waiting(standing, f"the release command of revision {rendered.revision}", observed)
    deployments = [each for each in rendered.objects if each["kind"] == "Deployment"]
    standings = [(each, standing_of(observed.seen[key_of(each)], _pods_of(each, observed))) for each in deployments]
    for progress in ("failed", "underway"):
        for each, standing in standings:
            if standing.progress == progress:
                return _waiting(standing, _what(each), observed)
    wanted = {key_of(each) for each in rendered.objects}
    surplus = {key: each for key, each in observed.seen.items() if key not in wanted}
    cause = Cause(Reason.OBSOLETE, "its manifest no longer asks for it")
    deleted = tuple(_delete(each, cause) for each in _in_order(surplus))
    message = f"{observed.place} cannot be looked at: {observed.unseen}" if observed.unseen else ""
    message = message or "; ".join(_conflicts(rendered, observed))
    return Plan(
        actions=deleted,
        state="degraded" if message else "running",
        message=message,
        wanted=rendered.revision,
        settled=not deleted and not message,
    )


def _conflicts(rendered: Rendered, observed: ObservedPlace) -> Iterator[str]:
    """Yield what others have changed and is left as it is."""
    for each in rendered.objects if observed.conflicts else ():
        seen = observed.seen[key_of(each)]
        if differences(each, seen):
            yield observed.conflicts[conflict_of(each, seen)]


def _waiting(standing: Standing, what: str, observed: ObservedPlace) -> Plan[Action]:
    text = f"{what}: {standing.text}" if standing.text else what
    if standing.progress == "failed":
        state: AppState = "degraded" if standing.serving else "failing"
        return _plan((), state, Cause(Reason.REVISION_REJECTED, text), observed)
    return _plan((), "starting", Cause(Reason.HANDING_OVER, text), observed)


def _plan(actions: tuple[Action, ...], state: AppState, cause: Cause, observed: ObservedPlace) -> Plan[Action]:
    wanted = None if observed.revision is None else observed.revision.id
    return Plan(actions=actions, state=state, reason=cause.reason, message=cause.text, wanted=wanted)


def _applied(wanted: list[Mapping[str, Any]], observed: ObservedPlace) -> Iterator[ApplyObject]:
    for each in wanted:
        kind, name = key_of(each)
        seen = observed.seen.get((kind, name))
        found = () if seen is None else differences(each, seen)
        if seen is not None and (not found or conflict_of(each, seen) in observed.conflicts):
            continue
        cause = Cause(Reason.FIRST_TIME, f"{observed.place} has no {kind} {name}")
        if seen is not None:
            cause = _why(each, seen, found, observed)
        yield ApplyObject(
            kind=kind,
            name=name,
            wanted=each,
            found=found,
            force=cause.reason is Reason.DRIFTED,
            cause=cause.text,
            reason=cause.reason,
        )


def _why(wanted: Mapping[str, Any], seen: Mapping[str, Any], found: tuple[str, ...], observed: ObservedPlace) -> Cause:
    """Return why an object is applied again: its manifest changed, or another has changed the object."""
    if _content(wanted) != _content(seen):
        return Cause(Reason.CONFIGURATION_CHANGED, "its manifest, source or secrets changed")
    who = changed_by(seen, observed.installation, found[0]) or "another program"
    return Cause(Reason.DRIFTED, f"{who} has changed {', '.join(found)}")


def _content(each: Mapping[str, Any]) -> tuple[object, object]:
    given = each["metadata"].get("annotations") or {}
    return given.get("reconciler.dev/content"), given.get("reconciler.dev/revision")


def _is_first(each: Mapping[str, Any]) -> bool:
    return bool(each["metadata"].get("labels", {}).get(_STEP) == _FIRST)


def _what(each: Mapping[str, Any]) -> str:
    part = str(each["metadata"].get("labels", {}).get(PART) or "web")
    return "its pods" if part == "web" else f"the pods of {part.partition('.')[2] or part}"


def _pods_of(each: Mapping[str, Any], observed: ObservedPlace) -> list[Mapping[str, Any]]:
    part = each["metadata"].get("labels", {}).get(PART)
    return [pod for pod in observed.pods if (pod["metadata"].get("labels") or {}).get(PART) == part]


def _in_order(seen: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return objects that are not being deleted yet, in the order in which they are to be.

    What another object controls, as a CronJob does its Jobs, has labels of ours and is that one's to delete.
    """
    order = {kind: index for index, kind in enumerate(_LAST_FIRST)}
    there = (each for each in seen.values() if not _is_going(each["metadata"]))
    return sorted(there, key=lambda each: (order.get(str(each["kind"]), len(order)), key_of(each)))


def _is_going(metadata: Mapping[str, Any]) -> bool:
    owners = metadata.get("ownerReferences") or ()
    return bool(metadata.get("deletionTimestamp")) or any(owner.get("controller") for owner in owners)


def _delete(each: Mapping[str, Any], cause: Cause) -> DeleteObject:
    kind, name = key_of(each)
    return DeleteObject(
        kind=kind, name=name, uid=str(each["metadata"].get("uid", "")), cause=cause.text, reason=cause.reason
    )
