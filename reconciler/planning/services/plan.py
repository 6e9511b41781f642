"""Plan one service: the actions, in order, that lead from what is observed to what is desired.

`plan` is a function. Its laws: nothing is made on a server before it is on record here; credentials are revoked only
when nothing uses them any more; data is removed only when a manifest said so, that manifest was removed, its grace
period is over and a backup was made; and with nothing to change there is nothing to do.
"""

from collections.abc import Iterable, Mapping

from reconciler.planning.fingerprint import canonical, fingerprint
from reconciler.planning.plan import Plan
from reconciler.planning.reason import Cause, Reason
from reconciler.planning.services.actions import (
    Action,
    BackUp,
    Bind,
    CreateGrant,
    Deprovision,
    Forget,
    Provision,
    RecordRetention,
    Register,
    Unbind,
    Verify,
)
from reconciler.planning.services.observed import GrantState, ObservedService, ServiceState
from reconciler.planning.services.service import Service

_FIRST_TIME = Cause(Reason.FIRST_TIME, "the service is new")
_REMOVED = Cause(Reason.MANIFEST_REMOVED, "its manifest was removed")
_PARAMETERS = Cause(Reason.PARAMETERS_CHANGED, "its parameters changed")


def made_of(service: Service) -> str:
    """Return twelve hexadecimal digits that depend on everything a service is provisioned with."""
    return fingerprint({"plan": service.plan, "asked": canonical(dict(service.asked))})


def plan(service: Service | None, observed: ObservedService, now: float) -> Plan[Action]:
    """Plan one service; `service` is None when its manifest was removed, `now` is monotonic seconds."""
    if service is None:
        return _without_manifest(observed, now)
    if observed.problem is not None:
        return Plan(actions=(), state="failing", reason=Reason.MISCONFIGURED, message=observed.problem)
    here = current(service, observed)
    if here is None:
        register = Register(
            type=service.type, server=observed.server, cause=_FIRST_TIME.text, reason=_FIRST_TIME.reason
        )
        return Plan(
            actions=(register,), state="starting", reason=Reason.FIRST_TIME, message="the service is being created"
        )
    missing = _provide(service, here, observed)
    others = [record for record in observed.kept if record.id != here.id]
    actions: list[Action] = [*_record_retention(service, here, observed), *missing]
    for other in others:
        moved = Cause(Reason.SERVER_CHANGED, "its type or its server changed")
        actions += _wind_down(other, {}, now, moved)
    actions += [*_revoke(here, observed), *_verify(here, observed, now)]
    times = [*(_removed_at(other, {}) for other in others), *(_verify_at(grant, observed) for grant in here.grants)]
    trouble = observed.backup_trouble or Cause(Reason.NONE, "")
    return Plan(
        actions=tuple(actions),
        state="starting" if missing else "ready" if observed.backup_trouble is None else "degraded",
        reason=actions[0].reason if missing else trouble.reason,
        message=actions[0].cause if missing else trouble.text,
        recheck_at=min((at for at in times if at is not None and at > now), default=None),
        settled=not actions,
    )


def current(service: Service, observed: ObservedService) -> ServiceState | None:
    """Return the service on record that has the desired type and server, None when there is none."""
    return next((one for one in observed.kept if (one.type, one.server) == (service.type, observed.server)), None)


def opens(record: ServiceState, app: str) -> GrantState | None:
    """Return the grant that an app is to use: one that is bound, and is being replaced only if there is no other."""
    bound = [grant for grant in record.grants if grant.app == app and grant.bound]
    return max(bound, key=lambda grant: grant.retiring is None, default=None)


def _without_manifest(observed: ObservedService, now: float) -> Plan[Action]:
    if not observed.kept:
        forget = (Forget(cause=_REMOVED.text, reason=_REMOVED.reason),) if observed.has_residue else ()
        return Plan(actions=forget, state="stopping", reason=_REMOVED.reason, message=_REMOVED.text, settled=not forget)
    actions = [a for record in observed.kept for a in _wind_down(record, observed.wanted_by, now, _REMOVED)]
    retained = all(record.retain and record.was_made for record in observed.kept)
    times = [at for record in observed.kept if (at := _removed_at(record, observed.wanted_by)) is not None]
    due_at = min(times, default=None)
    cause = _why_kept(observed, retained=retained) if any(record.was_made for record in observed.kept) else _REMOVED
    return Plan(
        actions=tuple(actions),
        state="stopping" if actions or not retained else "retained",
        reason=cause.reason,
        message=cause.text,
        recheck_at=due_at if due_at is not None and due_at > now else None,
        settled=not actions and (due_at is None or bool(observed.wanted_by)),
        reportable=True,
    )


def _why_kept(observed: ObservedService, *, retained: bool) -> Cause:
    users = sorted(observed.wanted_by)
    if users:
        verb = "uses" if len(users) == 1 else "use"
        return Cause(
            Reason.STILL_USED, f"its manifest was removed, but {_listed(users)} still {verb} it; its data is kept"
        )
    if retained:
        return Cause(Reason.RETAINED, "its manifest was removed; its data is kept")
    return Cause(
        Reason.GRACE_PERIOD,
        "its manifest was removed; its data is backed up and removed when its grace period is over",
    )


def _record_retention(service: Service, here: ServiceState, observed: ObservedService) -> list[Action]:
    grace_s = observed.grace_s if service.grace_s is None else service.grace_s
    if (here.retain, here.grace_s, here.left_at, here.dumped) == (service.retain, grace_s, None, False):
        return []
    cause = Cause(Reason.MANIFEST_CHANGED, "its manifest changed")
    if here.left_at is not None:
        cause = Cause(Reason.MANIFEST_RESTORED, "its manifest is back")
    return [
        RecordRetention(
            service=here.id, retain=service.retain, grace_s=grace_s, left=False, cause=cause.text, reason=cause.reason
        )
    ]


def _provide(service: Service, here: ServiceState, observed: ObservedService) -> list[Action]:
    """Provision the service, and give each app that uses it credentials that work."""
    actions: list[Action] = []
    made = made_of(service)
    if here.made != made:
        cause = Cause(Reason.MANIFEST_CHANGED, "its manifest changed") if here.made else _FIRST_TIME
        actions.append(Provision(service=here.id, made=made, cause=cause.text, reason=cause.reason))
    for app, parameters in sorted(observed.wanted_by.items()):
        cause = _why_new_grant(here, app, parameters)
        fitting = [g for g in here.grants if g.app == app and g.retiring is None and g.parameters == parameters]
        if not fitting:
            actions.append(
                CreateGrant(service=here.id, app=app, parameters=parameters, cause=cause.text, reason=cause.reason)
            )
        elif not fitting[-1].bound or fitting[-1].due:
            due = fitting[-1].due
            cause = Cause(Reason.CREDENTIALS_DOUBTED, due) if due else cause
            actions.append(Bind(service=here.id, grant=fitting[-1].id, app=app, cause=cause.text, reason=cause.reason))
    return actions


def _why_new_grant(here: ServiceState, app: str, parameters: str) -> Cause:
    earlier = [g for g in here.grants if g.app == app and (g.retiring or g.parameters != parameters)]
    if not earlier:
        return Cause(Reason.BINDING_ADDED, f"the manifest of {app} binds it")
    retiring = earlier[-1].retiring
    return Cause(Reason.CREDENTIALS_RETIRED, retiring) if retiring else _PARAMETERS


def _revoke(here: ServiceState, observed: ObservedService) -> list[Action]:
    """Revoke the grants that no instance uses and no app is to use."""
    actions: list[Action] = []
    for grant in here.grants:
        cause: Cause | None = None
        parameters = observed.wanted_by.get(grant.app)
        if grant.used:
            continue
        if parameters is None and not grant.kept_for_rollback:
            cause = Cause(Reason.BINDING_REMOVED, f"the manifest of {grant.app} no longer binds it")
        elif parameters is not None and _is_replaced(grant, parameters, here.grants):
            text = f"new credentials replaced them: {grant.retiring or _PARAMETERS.text}"
            cause = Cause(Reason.CREDENTIALS_REPLACED, text)
        if cause is not None:
            actions.append(
                Unbind(service=here.id, grant=grant.id, app=grant.app, cause=cause.text, reason=cause.reason)
            )
    return actions


def _is_replaced(grant: GrantState, parameters: str, grants: Iterable[GrantState]) -> bool:
    if grant.retiring is None and grant.parameters == parameters:
        return False
    return any(
        g.app == grant.app and g.bound and g.due is None and g.retiring is None and g.parameters == parameters
        for g in grants
    )


def _verify(here: ServiceState, observed: ObservedService, now: float) -> list[Action]:
    due = [grant for grant in here.grants if (at := _verify_at(grant, observed)) is not None and at <= now]
    return [
        Verify(
            service=here.id,
            grant=grant.id,
            app=grant.app,
            cause="its verification is due",
            reason=Reason.VERIFICATION_DUE,
        )
        for grant in due
        if grant.app in observed.wanted_by
    ]


def _verify_at(grant: GrantState, observed: ObservedService) -> float | None:
    """When to verify a grant; None for one that is not in use as it is."""
    if not grant.bound or grant.due or grant.retiring:
        return None
    return 0.0 if grant.verified_at is None else grant.verified_at + observed.verify_every_s


def _wind_down(record: ServiceState, wanted_by: Mapping[str, str], now: float, cause: Cause) -> list[Action]:
    """Revoke the grants of a service that is no longer desired, then remove its data if a manifest said so.

    The grants of apps that still use it stay. A service that was never provisioned has no data, and goes at once.
    """
    wanted_by = wanted_by if record.was_made else {}
    if record.left_at is None:
        return [
            RecordRetention(
                service=record.id,
                retain=record.retain,
                grace_s=record.grace_s,
                left=True,
                cause=cause.text,
                reason=cause.reason,
            )
        ]
    actions: list[Action] = [
        Unbind(service=record.id, grant=grant.id, app=grant.app, cause=cause.text, reason=cause.reason)
        for grant in record.grants
        if not grant.used and not grant.kept_for_rollback and grant.app not in wanted_by
    ]
    due_at = _removed_at(record, wanted_by)
    if due_at is None or due_at > now or len(actions) < len(record.grants):
        return actions
    if not record.dumped and record.made:
        actions.append(BackUp(service=record.id, cause=cause.text, reason=cause.reason))
    actions.append(Deprovision(service=record.id, cause=cause.text, reason=cause.reason))
    return actions


def _removed_at(record: ServiceState, wanted_by: Mapping[str, str]) -> float | None:
    """When the data of a service may be removed; None when it is to be kept."""
    if not record.was_made:
        return record.left_at
    if record.retain or record.left_at is None or wanted_by:
        return None
    return record.left_at + record.grace_s


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
