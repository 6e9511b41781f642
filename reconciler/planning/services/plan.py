"""The difference between what is asked of one service and what is true, as steps in order.

`plan` is a function. Its laws: nothing is made on a server before it is on record here; credentials are taken back only
when nothing works with them any more; what a service holds is removed only when a manifest said so, nobody asks for it,
its time is over and a backup was made; and with nothing to change there is nothing to do.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from reconciler.planning.desired import Service
from reconciler.planning.fingerprint import canonical, fingerprint
from reconciler.planning.services.actions import (
    Action,
    BackUp,
    Bind,
    CreateGrant,
    Deprovision,
    Forget,
    GrantState,
    ObservedService,
    Provision,
    RecordRetention,
    Register,
    ServiceState,
    Unbind,
    Verify,
)

State: TypeAlias = Literal["pending", "starting", "ready", "failing", "stopping", "retained"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do, in order; what to call the service meanwhile; and when time alone could change the answer."""

    actions: tuple[Action, ...]
    state: State
    message: str = ""
    recheck_at: float | None = None
    settled: bool = False
    failures: int = 0
    wanted: str | None = None
    reportable: bool = False
    immediate: tuple[Action, ...] = ()

    @property
    def first(self) -> Action | None:
        """The step to do now, None when nothing is left."""
        return self.actions[0] if self.actions else None


def made_of(service: Service) -> str:
    """Twelve hexadecimal digits of what makes a difference to how a service is provisioned."""
    return fingerprint({"plan": service.plan, "asked": canonical(dict(service.asked))})


def plan(service: Service | None, seen: ObservedService, now: float) -> Plan:
    """What to do about one service; `service` is None when no manifest asks for it, `now` is monotonic seconds."""
    if service is None:
        return _without_manifest(seen, now)
    if seen.problem is not None:
        return Plan(actions=(), state="failing", message=seen.problem)
    here = current(service, seen)
    if here is None:
        enrol = Register(type=service.type, server=seen.server, cause="it is asked for and was never made")
        return Plan(actions=(enrol,), state="starting", message="it is being made")
    wishes = _grant_actions(service, here, seen)
    steps: list[Action] = [*_noted(service, here, seen), *wishes]
    others = [kept for kept in seen.kept if kept.id != here.id]
    for other in others:
        steps += _left(other, {}, now, "its type or its server changed")
    steps += _taken_back(here, seen)
    steps += _examined(here, seen, now)
    times = [*(_due_at(other, {}) for other in others), *(_examine_at(held, seen) for held in here.grants)]
    ready = not wishes
    return Plan(
        actions=tuple(steps),
        state="ready" if ready else "starting",
        message="" if ready or not steps else steps[0].cause,
        recheck_at=min((at for at in times if at is not None and at > now), default=None),
        settled=not steps,
    )


def current(service: Service, seen: ObservedService) -> ServiceState | None:
    """Of those on record the one that is what is asked for; taken back when it had been left."""
    return next((kept for kept in seen.kept if (kept.type, kept.server) == (service.type, seen.server)), None)


def opens(kept: ServiceState, app: str) -> GrantState | None:
    """The grant that an app is to work with: the newest that is bound, one on its way out only without a successor."""
    bound = [held for held in kept.grants if held.app == app and held.bound]
    return max(bound, key=lambda held: held.retiring is None, default=None)


def _without_manifest(seen: ObservedService, now: float) -> Plan:
    cause = "no manifest asks for it any more"
    steps = [step for kept in seen.kept for step in _left(kept, seen.wanted_by, now, cause)]
    if not seen.kept:
        forget = (Forget(cause=cause),) if seen.has_residue else ()
        return Plan(actions=forget, state="stopping", message=cause, settled=not forget)
    asking = sorted(seen.wanted_by)
    due_at = min((at for at in (_due_at(kept, seen.wanted_by) for kept in seen.kept) if at is not None), default=None)
    if asking:
        message = f"{cause}, but {_listed(asking)} still asks for it: what it holds is kept"
    elif all(kept.retain for kept in seen.kept):
        message = "retained: its manifest is gone, what it holds is kept for when it comes back"
    else:
        message = f"{cause}; what it holds is backed up and removed when its grace period is over"
    return Plan(
        actions=tuple(steps),
        state="stopping" if steps or not all(kept.retain for kept in seen.kept) else "retained",
        message=message,
        recheck_at=due_at if due_at is not None and due_at > now else None,
        settled=not steps and (due_at is None or bool(asking)),
        reportable=True,
    )


def _noted(service: Service, here: ServiceState, seen: ObservedService) -> list[Action]:
    grace_s = seen.grace_s if service.grace_s is None else service.grace_s
    if (here.retain, here.grace_s, here.left_at, here.dumped) == (service.retain, grace_s, None, False):
        return []
    cause = "it is asked for again" if here.left_at is not None else "its manifest says so"
    return [RecordRetention(service=here.id, retain=service.retain, grace_s=grace_s, left=False, cause=cause)]


def _grant_actions(service: Service, here: ServiceState, seen: ObservedService) -> list[Action]:
    """What is to be made before everybody who asks for it has it."""
    steps: list[Action] = []
    made = made_of(service)
    if here.made != made:
        cause = "its manifest changed" if here.made else "it is asked for and was never made"
        steps.append(Provision(service=here.id, made=made, cause=cause))
    for app, parameters in sorted(seen.wanted_by.items()):
        fresh = [h for h in here.grants if h.app == app and h.retiring is None and h.parameters == parameters]
        if not fresh:
            cause = _why_anew(here, app, parameters)
            steps.append(CreateGrant(service=here.id, app=app, parameters=parameters, cause=cause))
            continue
        newest = fresh[-1]
        if not newest.bound or newest.due:
            cause = newest.due or _why_anew(here, app, parameters)
            steps.append(Bind(service=here.id, grant=newest.id, app=app, cause=cause))
    return steps


def _why_anew(here: ServiceState, app: str, parameters: str) -> str:
    """Why an app gets other credentials than it has, or its first."""
    old = [h for h in here.grants if h.app == app and (h.retiring or h.parameters != parameters)]
    if not old:
        return f"{app} asks for it"
    return old[-1].retiring or "its parameters changed"


def _taken_back(here: ServiceState, seen: ObservedService) -> list[Action]:
    """Grants that nobody is to work with any more and nobody does."""
    steps: list[Action] = []
    for held in here.grants:
        parameters = seen.wanted_by.get(held.app)
        if parameters is None:
            if not held.used and not held.kept_for_rollback:
                cause = f"{held.app} asks for it no longer"
                steps.append(Unbind(service=here.id, grant=held.id, app=held.app, cause=cause))
        elif not held.used and _succeeded(held, parameters, here.grants):
            cause = f"new credentials took the place of these: {held.retiring or 'its parameters changed'}"
            steps.append(Unbind(service=here.id, grant=held.id, app=held.app, cause=cause))
    return steps


def _succeeded(held: GrantState, parameters: str, grants: Iterable[GrantState]) -> bool:
    if held.retiring is None and held.parameters == parameters:
        return False
    return any(
        h.app == held.app and h.bound and h.due is None and h.retiring is None and h.parameters == parameters
        for h in grants
    )


def _examined(here: ServiceState, seen: ObservedService, now: float) -> list[Action]:
    due = [h for h in here.grants if (at := _examine_at(h, seen)) is not None and at <= now]
    return [
        Verify(service=here.id, grant=h.id, app=h.app, cause="it was not tried lately")
        for h in due
        if h.app in seen.wanted_by
    ]


def _examine_at(held: GrantState, seen: ObservedService) -> float | None:
    """When to try a grant again; None for one that is not to work."""
    if not held.bound or held.due or held.retiring:
        return None
    return 0.0 if held.verified_at is None else held.verified_at + seen.verify_every_s


def _left(kept: ServiceState, wanting: Mapping[str, str], now: float, cause: str) -> list[Action]:
    """What becomes of a service that no manifest asks for: grants first, then, if one said so, what it holds.

    What an app still wants of it stays.
    """
    if kept.left_at is None:
        return [RecordRetention(service=kept.id, retain=kept.retain, grace_s=kept.grace_s, left=True, cause=cause)]
    steps: list[Action] = [
        Unbind(service=kept.id, grant=held.id, app=held.app, cause=cause)
        for held in kept.grants
        if not held.used and not held.kept_for_rollback and held.app not in wanting
    ]
    due_at = _due_at(kept, wanting)
    if due_at is None or due_at > now or len(steps) < len(kept.grants):
        return steps
    if not kept.dumped and kept.made:
        steps.append(BackUp(service=kept.id, cause=cause))
    steps.append(Deprovision(service=kept.id, cause=cause))
    return steps


def _due_at(kept: ServiceState, wanting: Mapping[str, str]) -> float | None:
    """When what a service holds may be removed; None when it is to be kept."""
    if kept.retain or kept.left_at is None or wanting:
        return None
    return kept.left_at + kept.grace_s


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
