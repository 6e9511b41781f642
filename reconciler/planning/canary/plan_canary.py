"""Plan an app whose new revision is tried as a canary, with a part of new connections, beside what serves.

A second listener is opened at the app's address, with no weight, and the revision started on it. Once it has passed its
gate it gets one share after another, and in the end every new connection: then what served before is stopped. Whatever
else happens goes back first: there are never more than two revisions.
"""

from dataclasses import replace

from reconciler.planning.apps.actions import Action, Reap, RecordFailure, Start, stops
from reconciler.planning.apps.assessment import Assessment
from reconciler.planning.apps.observed import Instance, Observed
from reconciler.planning.apps.plan_instances import deploying, planned, prepare, start, to_scale
from reconciler.planning.apps.plan_listener import listen
from reconciler.planning.canary.actions import BeginCanary, EndCanary, WeighCanary
from reconciler.planning.canary.canary import Canary, Split
from reconciler.planning.canary.weights import WHOLE, percent
from reconciler.planning.plan import Plan
from reconciler.planning.reason import Cause, Reason
from reconciler.planning.wording import span

# The part of a step after which it is told what its requests lead to.
_TELLING = 5
_SURPLUS = Cause(Reason.SURPLUS, "it is no longer needed")
_REPLACED = Cause(Reason.PROMOTED, "the new revision gets every new connection")
_ENDED = Cause(Reason.ABORTED, "the canary is over")


def plan_canary(known: Assessment) -> Plan[Action]:
    """Plan one more step of a canary, or wait until its time is over."""
    app, split, stable = known.app, known.observed.split, known.stable
    canary = known.canary
    assert canary is not None
    actions: list[Action] = [*listen(app, known.observed), *prepare(known)]
    if stable is None:
        return _without_predecessor(known, actions)
    actions += stops((i for i in known.others if i is not stable), _SURPLUS)
    if split is None or known.current is None or not known.current.ready:
        actions += _beginning(known)
        return deploying(known, [*actions, *_outlook(known, stable)], stable)
    current, step = known.current, _step(known, split)
    if step is not None:
        workers = app.workers if step.weight == WHOLE else canary.workers_at(step.weight, app.workers)
        actions += [*to_scale(known, current, workers), step]
        actions += _outlook(known, stable, after=len(canary.share) if step.weight == WHOLE else step.step)
        return _told(known, actions, Cause(step.reason, f"{_share(split)}: {split.trial.told}"))
    actions += to_scale(known, current, canary.workers_at(split.weight, app.workers))
    actions += to_scale(known, stable, app.workers)
    over_at = split.since + canary.for_s
    told = _told(known, actions, Cause(Reason.CANARY, _progress(known, split, canary)))
    times = [at for at in (told.recheck_at, over_at) if at is not None and at > known.now]
    return replace(told, recheck_at=min(times, default=None))


def with_canary_ended(plan: Plan[Action], observed: Observed) -> Plan[Action]:
    """Return a plan that goes back to one listener before anything else, once what has failed is on record."""
    split = observed.split
    if split is None:
        return plan
    weigh, ending = _ending(split, observed)
    noted = tuple(action for action in plan.actions if isinstance(action, Reap | RecordFailure))
    first = (*weigh, *noted, *ending)
    return replace(plan, actions=(*first, *(action for action in plan.actions if action not in first)), settled=False)


def _ending(split: Split, observed: Observed) -> tuple[list[Action], list[Action]]:
    """Return the last weight, and how the revision that is to go is stopped and its listener closed.

    What has every connection already is not given back.
    """
    mine = [i for i in observed.alive if i.revision == split.revision]
    others = [i for i in observed.alive if i.revision != split.revision and i.address == split.address]
    serves = any(i.serves for i in mine)
    if serves and (split.weight == WHOLE or not any(i.serves for i in others)):
        whole: list[Action] = [] if split.weight == WHOLE else [_weigh(split.revision, WHOLE, split.step, _REPLACED)]
        end = EndCanary(address=split.address, promoted=True, cause=_REPLACED.text, reason=_REPLACED.reason)
        return whole, [*stops(others, _REPLACED), end]
    cause = Cause(Reason.ABORTED, split.harm) if split.harm else _ENDED
    nothing: list[Action] = [_weigh(split.revision, 0, split.step, cause)] if split.weight else []
    end = EndCanary(address=split.address, promoted=False, cause=cause.text, reason=cause.reason)
    return nothing, [*stops(mine, cause), end]


def _beginning(known: Assessment) -> list[Action]:
    """Open the second listener, and start the revision on it."""
    canary, address = known.canary, known.app.address
    assert canary is not None
    assert address is not None
    asks = "the manifest has" if known.app.canary is not None else "it failed clients before: now"
    cause = Cause(Reason.CANARY, f"{asks} {percent(canary.share[0] / WHOLE)} of new connections try it first")
    workers = canary.workers_at(canary.share[0], known.app.workers)
    begin = BeginCanary(address=address, revision=known.target.id, cause=cause.text, reason=cause.reason)
    opened = known.observed.split is not None
    return [*([] if opened else [begin]), *start(known, known.target, cause, workers)]


def _step(known: Assessment, split: Split) -> WeighCanary | None:
    """Return the next weight once it is due."""
    canary, trial = known.canary, split.trial
    assert canary is not None
    if split.promoted:
        return _weigh(split.revision, WHOLE, split.step, Cause(Reason.PROMOTED, "an operator promoted it"))
    if not split.weight:  # also of one that has started anew
        cause = Cause(Reason.CANARY, "it passed its gate")
        return _weigh(split.revision, canary.weight(0), 0, cause, canary)
    if split.weight != canary.weight(split.step):
        cause = Cause(Reason.CANARY, "its manifest has another share")
        return _weigh(split.revision, canary.weight(split.step), split.step, cause, canary)
    if split.by != canary.by:
        cause = Cause(Reason.CANARY, f"its manifest divides by {canary.by} now")
        return _weigh(split.revision, canary.weight(split.step), split.step, cause, canary)
    enough = trial.canary.answered >= canary.requests
    if known.now < split.since + canary.for_s or not (enough or canary.undecided == "go_on"):
        return None
    text = trial.told if enough else f"undecided: {_counted(split, canary)} in {span(canary.for_s)}"
    if split.step + 1 < len(canary.share):
        cause = Cause(Reason.CANARY, text)
        return _weigh(split.revision, canary.weight(split.step + 1), split.step + 1, cause, canary)
    return _weigh(split.revision, WHOLE, split.step, Cause(Reason.PROMOTED, text))


def _outlook(known: Assessment, stable: Instance, after: int = -1) -> list[Action]:
    """Return what follows if all goes well, for operators to see: each part is planned again when it is due."""
    canary, address, revision = known.canary, known.app.address, known.target.id
    assert canary is not None
    assert address is not None
    cause = Cause(Reason.CANARY, f"unless it is worse within {span(canary.for_s)}")
    steps = range(after + 1, len(canary.share))
    weights = [_weigh(revision, canary.weight(step), step, cause, canary) for step in steps]
    whole = [_weigh(revision, WHOLE, len(canary.share) - 1, cause)] if after < len(canary.share) else []
    end = EndCanary(address=address, promoted=True, cause=_REPLACED.text, reason=_REPLACED.reason)
    return [*weights, *whole, *stops((stable,), _REPLACED), end]


def _without_predecessor(known: Assessment, actions: list[Action]) -> Plan[Action]:
    """Start what served before again, which has most of the clients; if it cannot start, give them to the canary."""
    split = known.observed.split
    assert split is not None
    if known.fallback is not None and known.fallback_at <= known.now:
        cause = Cause(Reason.CANARY, "clients that are not the canary's wait for it")
        again = start(known, known.fallback, cause, known.app.workers)
        return _told(known, [*actions, *again], Cause(Reason.CANARY, "the release beside the canary starts again"))
    cause = Cause(Reason.PROMOTED, "the release beside it cannot serve")
    weigh = _weigh(split.revision, WHOLE, split.step, cause)
    return _told(known, [*actions, weigh], cause)


def _weigh(revision: str, weight: int, step: int, cause: Cause, canary: Canary | None = None) -> WeighCanary:
    by = "connection" if canary is None else canary.by
    return WeighCanary(revision=revision, weight=weight, step=step, by=by, cause=cause.text, reason=cause.reason)


def _told(known: Assessment, actions: list[Action], cause: Cause) -> Plan[Action]:
    if actions and isinstance(actions[0], Start):
        return planned(known, actions, "running", cause)
    return planned(known, actions, "canary", cause)


def _progress(known: Assessment, split: Split, canary: Canary) -> str:
    text = f"{_share(split)} ({_counted(split, canary)}, {_minutes(known, split)} of {span(canary.for_s)})"
    return f"{text}: {split.trial.told}{_outlook_of(known, split, canary)}"


def _outlook_of(known: Assessment, split: Split, canary: Canary) -> str:
    """Say what the number of its requests leads to, "" if there are enough, or it is too early to tell."""
    elapsed, answered = known.now - split.since, split.trial.canary.answered
    if elapsed >= canary.for_s:
        return "; undecided: it waits for more requests, or 'reconciler promote'"
    if elapsed < canary.for_s / _TELLING or answered * canary.for_s >= canary.requests * elapsed:
        return ""
    return "; at this rate it will be undecided"


def _share(split: Split) -> str:
    return f"canary {percent(split.weight / WHOLE)}"


def _counted(split: Split, canary: Canary) -> str:
    answered = split.trial.canary.answered
    return f"{answered} of {canary.requests} requests" if answered < canary.requests else f"{answered} requests"


def _minutes(known: Assessment, split: Split) -> str:
    """Return how long it has its share: in whole minutes once it has one, so that what is told does not run."""
    elapsed = known.now - split.since
    return span(elapsed // 60 * 60 if elapsed >= 60 else elapsed // 10 * 10)
