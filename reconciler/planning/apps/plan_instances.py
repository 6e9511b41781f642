"""Plan an app that is to run and whose source is known.

The situation is assessed first, and each situation has one function here. A deploy passes through them like this: the
new build is staged and its release command runs (STARTING), an instance of it starts beside the one that serves, and
both share the listener until every new worker has passed its gate. Then the new instance is the current one (SERVING):
the old one is stopped, listeners and builds that are left over go, and after its probation the revision is known good.
If it fails instead, the old instance keeps serving, or the last known good revision is started again (FALLING_BACK),
while the new one is retried after a delay (BACKING_OFF).
"""

from collections.abc import Iterable
from dataclasses import replace

from reconciler.planning.apps.actions import (
    Action,
    MarkGood,
    Release,
    RemoveBuild,
    Scale,
    Sleep,
    Stage,
    Start,
    Stop,
    stops,
)
from reconciler.planning.apps.app import App
from reconciler.planning.apps.assessment import NEVER, Assessment, Situation
from reconciler.planning.apps.causes import (
    because,
    cannot_stage,
    doing,
    finishing,
    instead,
    trying_again,
    why_backing_off,
    why_sleep,
    why_start,
    withheld,
)
from reconciler.planning.apps.code_commands import NO_COMMANDS
from reconciler.planning.apps.failures import has_failed, next_failure, reap, record_failures
from reconciler.planning.apps.files_in_builds import files_in_builds
from reconciler.planning.apps.moving import woken
from reconciler.planning.apps.observed import Instance, Observed
from reconciler.planning.apps.plan_listener import answer_at, answering, listen, move, stay, unlisten
from reconciler.planning.apps.revision import Revision
from reconciler.planning.apps.revision_choice import best_instance
from reconciler.planning.apps.shortcomings import shortcoming, unknown_apps
from reconciler.planning.apps.worker_number import scaled, told_of_workers, until_scaled, why_scaled, without_superseded
from reconciler.planning.isolation.actions import ApplyLimits
from reconciler.planning.plan import Plan
from reconciler.planning.reason import Cause, Reason
from reconciler.planning.states import AppState
from reconciler.planning.wording import counted

_REPLACED = Cause(Reason.HANDING_OVER, "replaced by a new instance")
_SURPLUS = Cause(Reason.SURPLUS, "it is no longer needed")
_SLEEPING = Cause(Reason.SLEEPING, "the app is sleeping")
_CEDED = Cause(Reason.ADDRESS_CHANGED, "another app serves at its address now")


def plan_serving(app: App, observed: Observed, now: float) -> Plan[Action]:
    """Plan by situation, after recording exits and failures, and beside deciding who answers meanwhile."""
    observed = without_superseded(app, observed)
    app = scaled(app, observed, now)
    known = Assessment(app, observed, now)
    done = _with_source(known, _BY_SITUATION[known.situation](known))
    ended: list[Action] = [*reap(app, observed, now), *record_failures(app, observed, now), *_stop_ceded(known)]
    whole = replace(
        done,
        actions=(*ended, *woken(app, observed, now), *(action for action in done.actions if action not in ended)),
        immediate=answering(app, observed, now),
        recheck_at=until_scaled(observed, now, done.recheck_at),
        settled=done.settled and not ended,
    )
    return whole if known.situation is Situation.CANARY else ended_canary(whole, observed)


def _with_source(known: Assessment, planned: Plan[Action]) -> Plan[Action]:
    """Tell of a source that cannot be read before whatever else is told: until it can, no edit has an effect."""
    problem = known.source.problem
    if problem is None or planned.reason == Reason.SOURCE_UNREADABLE:
        return planned
    text = f"{problem}; {planned.message}" if planned.message else problem
    return replace(planned, reason=Reason.SOURCE_UNREADABLE, message=text, settled=False)


def ended_canary(plan: Plan[Action], observed: Observed) -> Plan[Action]:
    """Return a plan that ends a canary before anything else, if one is under way."""
    if observed.split is None:
        return plan
    from reconciler.planning.canary.plan_canary import with_canary_ended  # most apps have none

    return with_canary_ended(plan, observed)


def state_when_failing(observed: Observed) -> AppState:
    """Return the state of an app whose next action keeps failing: degraded while an instance serves."""
    return "degraded" if observed.serves else "failing"


# One plan for each situation.


def _serving(known: Assessment) -> Plan[Action]:
    """Finish the hand-over, mark the target good after its probation, then scale it or put it to sleep."""
    current = known.current
    assert current is not None
    actions: list[Action] = [*listen(known.app, known.observed), *_stage(known)]
    if underway := known.observed.processes.underway:
        if ailing := known.observed.processes.ailing:
            return planned(known, actions, "degraded", Cause(Reason.PROCESS_AILING, "; ".join(ailing)))
        return planned(known, actions, "starting", Cause(Reason.HANDING_OVER, underway))
    actions += stops(known.others, _REPLACED)
    actions += unlisten(known.app, known.observed)
    if known.is_proven:
        actions += _remove_builds(known)
    elif known.now >= known.proven_at(current):
        text = f"it {'ran' if known.app.address is None else 'served'} for {known.app.probation_s:g} s"
        actions.append(MarkGood(revision=known.target, cause=text, reason=Reason.PROBATION_PASSED))
    if known.idle_at(current) <= known.now:
        cause = why_sleep(known, current)
        actions.append(Sleep(instance=current.id, revision=known.target.id, cause=cause.text, reason=cause.reason))
    else:
        actions += to_scale(known, current, known.app.workers)
    if served := [i for i in known.others if i.ready and i.pid]:
        done = "rolled back by an operator" if known.is_rolled_back else "deployed"
        waits = Cause(Reason.HANDING_OVER, f"{done}; {finishing('the previous instance', served)}")
        return planned(known, actions, "running", waits)
    return _as_it_serves(known, current, actions)


def _as_it_serves(known: Assessment, current: Instance, actions: list[Action]) -> Plan[Action]:
    """Report the instance as running, or as degraded with what is wrong about it."""
    wrong = shortcoming(known, current)
    if wrong is not None:
        return planned(known, actions, "degraded", wrong)
    scaling = next((action for action in actions if isinstance(action, Scale)), None)
    if scaling is not None:
        text = f"scaling from {current.workers} to {counted(scaling.workers, 'worker')}"
        return planned(known, actions, "running", Cause(Reason.SCALING, text))
    cause = Cause(Reason.NONE, "")
    if current.never_idle and known.app.idle_after_s is not None:
        cause = Cause(Reason.SERVING, "it never sleeps: its worker class does not tell whether it is busy")
    if known.is_rolled_back:
        text = "rolled back by an operator, until the manifest or the source changes"
        cause = Cause(Reason.ROLLED_BACK_BY_OPERATOR, text)
    elif files := files_in_builds(known.app, known.observed, current.build):
        cause = Cause(Reason.FILES_IN_BUILD, files)
    elif told := told_of_workers(known.app, known.observed, known.now):
        cause = told
    elif current.unenforced:
        cause = Cause(Reason.LIMITS_WATCHED, current.unenforced)
    elif current.lacks:
        cause = Cause(Reason.ISOLATION_INCOMPLETE, current.lacks)
    return replace(planned(known, actions, "running", cause), settled=not actions)


def _starting(known: Assessment) -> Plan[Action]:
    """Stage the target, run its release command, start it beside what serves, then stop that."""
    if known.cannot_stage:
        cause = Cause(Reason.SOURCE_UNREADABLE, known.source.problem or "")
        return planned(known, stay(known.app, known.observed), state_when_failing(known.observed), cause)
    surplus = _make_room(known.others)
    actions: list[Action] = [*move(known.app, known.observed), *prepare(known), *surplus]
    actions += [step for step in start(known, known.target, why_start(known), known.app.workers) if step not in actions]
    stopped = {stop.instance for stop in surplus}
    actions += stops((i for i in known.others if i.id not in stopped), _REPLACED)
    actions += [u for u in unlisten(known.app, known.observed) if u not in actions]
    first = actions[0]
    if known.failure is not None and known.keeps_failing:
        return planned(known, actions, "failing", trying_again(known, known.failure, first))
    if known.is_waking and not known.observed.serves and isinstance(first, Start):
        return planned(known, actions, "running", Cause(Reason.WAKING, "waking: a request arrived"))
    if known.serving is not None:
        return deploying(known, actions, known.serving)
    state: AppState = "staging" if isinstance(first, Stage | Release) else "starting"
    return planned(known, actions, state, doing(known, first))


def deploying(known: Assessment, actions: list[Action], serving: Instance) -> Plan[Action]:
    """Report the app by what serves; what is tried once more after a failure leaves it degraded."""
    if known.failure is None:
        cause = doing(known, actions[0])
        return planned(known, actions, "running", replace(cause, text=f"deploying: {cause.text}"))
    text = f"revision {known.target.id} failed: {known.failure.reason}; revision {serving.revision} serves"
    if not isinstance(actions[0], Stage | Release):  # whose own progress says that they are tried again
        text = f"trying again, as {text}"
    return planned(known, actions, "degraded", instead(known, text))


def _backing_off(known: Assessment) -> Plan[Action]:
    """Wait until the target, which failed, may be tried again; what serves stays."""
    assert known.failure is not None
    actions: list[Action] = [*stay(known.app, known.observed), *_stop_surplus(known)]
    if known.serving is not None:
        actions += to_scale(known, known.serving, known.app.workers)
    cause = withheld(known, why_backing_off(known, known.failure))
    return planned(known, actions, state_when_failing(known.observed), cause)


def _falling_back(known: Assessment) -> Plan[Action]:
    """Start the last known good revision first, as nothing serves well and the target cannot at once."""
    why = known.failure.reason if known.failure is not None else "it is not staged yet"
    text = f"revision {known.target.id} cannot serve: {why}"
    state = state_when_failing(known.observed)
    if known.failure is None and known.is_staged:
        text, state = f"revision {known.target.id} is tried beside the one before, which starts first", "starting"
    why_started = Cause(Reason.FALLEN_BACK, text)
    moved = move(known.app, known.observed)
    actions: list[Action] = [*moved, *(step for step in _start_fallback(known, why_started) if step not in moved)]
    return planned(known, actions, state, instead(known, text))


def _canary(known: Assessment) -> Plan[Action]:
    """Try the target beside what serves."""
    from reconciler.planning.canary.plan_canary import plan_canary  # most apps have none

    return plan_canary(known)


def _waiting_for_inputs(known: Assessment) -> Plan[Action]:
    """Keep what serves, or start the last known good revision: without all inputs the target is unknown."""
    inputs, serving, failed = known.observed.inputs, known.serving, cannot_stage(known)
    text = f"{f'{failed.text}; ' if failed is not None else ''}waiting: {'; '.join(inputs.missing)}"
    cause = Cause(Reason.WAITING_FOR_INPUTS, text if serving is None else f"{text}; revision {serving.revision} serves")
    times = [inputs.again_at, answer_at(known.app, known.observed), *([] if failed is None else [known.try_at])]
    actions: list[Action] = [*stay(known.app, known.observed)]
    if serving is not None:
        actions += [*_stage(known), *_stop_surplus(known), *to_scale(known, serving, known.app.workers)]
    elif known.fallback is not None and not known.dormant and not known.observed.unmet_dependencies:
        times.append(known.fallback_at)
        if known.fallback_at <= known.now:
            why = Cause(Reason.WAITING_FOR_INPUTS, "the last known good revision serves until all inputs are there")
            actions += [step for step in _start_fallback(known, why) if step not in actions]
    else:
        actions += [*_stage(known), *_stop_surplus(known)]
    state: AppState = "pending" if serving is None and failed is None else state_when_failing(known.observed)
    retries = (inputs.again_at, None if failed is None else known.retry_at())
    return replace(
        planned(known, actions, state, cause),
        recheck_at=min((at for at in times if at is not None and known.now < at < NEVER), default=None),
        retry_at=min((at for at in retries if at is not None), default=None),
        failures=max(inputs.failures, 0 if known.failed_to_stage is None else known.failed_to_stage.count),
        wanted=None,
    )


def _waiting_for_apps(known: Assessment) -> Plan[Action]:
    """Do everything but the start, as an app that this one depends on does not serve."""
    names = ", ".join(known.observed.unmet_dependencies)
    unknown = unknown_apps(known.observed)
    waits = Cause(Reason.WAITING_FOR_APPS, f"waiting for {names}{unknown and f': {unknown}'}")
    text = f"{names} {'does' if len(known.observed.unmet_dependencies) == 1 else 'do'} not serve"
    actions: list[Action] = [*move(known.app, known.observed), *prepare(known)]
    actions += stops(known.others, Cause(Reason.WAITING_FOR_APPS, text))
    return planned(known, actions, "pending", waits)


def _sleeping(known: Assessment) -> Plan[Action]:
    """Stage and listen: until the next connection no instance is needed."""
    due = known.try_at <= known.now
    actions: list[Action] = [*(prepare(known) if due else ()), *listen(known.app, known.observed)]
    actions += stops(known.others, _SLEEPING)
    actions += unlisten(known.app, known.observed)
    if not actions:
        actions += _remove_builds(known)
    cause = Cause(Reason.SLEEPING, "") if known.failure is None else withheld(known, because(known.failure))
    state: AppState = "sleeping" if known.failed_to_stage is None else state_when_failing(known.observed)
    if actions and isinstance(actions[0], Stage | Release) and known.failed_to_stage is None:
        state = "staging"
    if state == "staging":
        cause = Cause(actions[0].reason, actions[0].cause)
    return replace(planned(known, actions, state, cause), settled=due and not actions)


_BY_SITUATION = {
    Situation.WAITING_FOR_INPUTS: _waiting_for_inputs,
    Situation.SERVING: _serving,
    Situation.SLEEPING: _sleeping,
    Situation.FALLING_BACK: _falling_back,
    Situation.BACKING_OFF: _backing_off,
    Situation.WAITING_FOR_APPS: _waiting_for_apps,
    Situation.CANARY: _canary,
    Situation.STARTING: _starting,
}


# The parts of a plan.


def planned(known: Assessment, actions: Iterable[Action], state: AppState, cause: Cause) -> Plan[Action]:
    return Plan(
        actions=tuple(actions),
        state=state,
        reason=cause.reason,
        message=cause.text,
        wanted=known.target.id,
        recheck_at=known.recheck_at(),
        retry_at=known.retry_at(),
        failures=known.failure.count if known.failure is not None else 0,
        withheld=known.is_withheld and not known.retry_at(),
    )


def _stage(known: Assessment) -> list[Action]:
    if known.is_staged or known.cannot_stage or (known.failed_to_stage is not None and known.try_at > known.now):
        return []
    cause = Cause(Reason.FIRST_TIME, "first build of the app")
    if known.observed.builds:
        cause = Cause(Reason.SOURCE_CHANGED, "its source or its build settings changed")
    revision = None if known.observed.inputs.missing and not known.is_rolled_back else known.target
    failing = next_failure(known.target, known.app.workers_of_failures, known.observed, known.now, "staging")
    build = known.target.build
    return [Stage(build=build, failing=failing, revision=revision, cause=cause.text, reason=cause.reason)]


def prepare(known: Assessment) -> list[Action]:
    """Stage the target, and run its release command."""
    if known.cannot_stage:
        return []
    actions = _stage(known)
    release = known.target.release_mark(known.observed.commands.get(known.target.build.id, NO_COMMANDS))
    if release is not None and release not in known.observed.released:
        cause = Cause(Reason.FIRST_TIME, "first release command of the app")
        if known.observed.released:
            cause = Cause(Reason.SOURCE_CHANGED, "its build or its environment is new")
        if known.failed_in_an_outage:
            cause = Cause(Reason.SERVICE_RECOVERED, "it failed while a service was down that has recovered")
        failing = next_failure(known.target, known.app.workers_of_failures, known.observed, known.now, "releasing")
        actions.append(
            Release(release=release, revision=known.target, failing=failing, cause=cause.text, reason=cause.reason)
        )
    return actions


def start(known: Assessment, revision: Revision, cause: Cause, workers: int) -> list[Action]:
    """Start an instance on the app's listener, which is opened for it unless it is open."""
    if known.app.worker_range is not None and (found := best_instance(revision, known.observed)) is not None:
        workers = found.workers  # it is scaled once it serves
    failing = next_failure(revision, known.app.workers_of_failures, known.observed, known.now)
    coming = Start(revision=revision, workers=workers, failing=failing, cause=cause.text, reason=cause.reason)
    return [*listen(known.app, known.observed), coming]


def _start_fallback(known: Assessment, cause: Cause) -> list[Action]:
    assert known.fallback is not None
    coming = best_instance(known.fallback, known.observed)
    return [
        *_make_room(i for i in known.observed.alive if i is not coming),
        *start(known, known.fallback, cause, known.app.workers),
    ]


def to_scale(known: Assessment, instance: Instance, wanted: int) -> list[Action]:
    """Give an instance its limits and number of workers: last of all, as a failure of that holds up nothing else."""
    actions = list[Action]()
    if instance.pid and instance.limits != known.app.limits:
        cause = "its limits changed" if instance.limits is not None else "the daemon started"
        limits = known.app.limits
        actions.append(ApplyLimits(instance=instance.id, limits=limits, cause=cause, reason=Reason.LIMITS_CHANGED))
    keeps_all = known.app.worker_range is not None and (bool(known.others) or not known.is_proven)
    if instance.workers < wanted or (instance.workers > wanted and not keeps_all):
        cause = why_scaled(known.app.with_workers(wanted), instance, known.observed, known.now)
        actions.append(Scale(instance=instance.id, workers=wanted, cause=cause, reason=Reason.SCALING))
    return actions


def _stop_ceded(known: Assessment) -> list[Stop]:
    """Stop what listens at an address that is another app's by now: clients of that one would get these answers."""
    ceded = known.observed.ceded
    return stops((i for i in known.others if not ceded.isdisjoint(i.addresses)), _CEDED)


def _make_room(others: Iterable[Instance]) -> list[Stop]:
    """Stop all earlier instances but the best, which stays while the new one starts if it is of any use."""
    ranked = sorted(others, key=lambda i: (i.serves, i.ready, i.started_at))
    surplus = ranked[:-1] if ranked and ranked[-1].ready else ranked
    return stops(surplus, _SURPLUS)


def _stop_surplus(known: Assessment) -> list[Stop]:
    """Stop what does not serve and is not about to, and what has failed where another instance serves well."""
    coming = None if known.fallback is None else best_instance(known.fallback, known.observed)
    well = known.is_well_served
    surplus = (
        i for i in known.others if i is not coming and (not i.serves or (well and has_failed(i, known.observed)))
    )
    return stops(surplus, _SURPLUS)


def _remove_builds(known: Assessment) -> list[Action]:
    """Keep the builds of the target, the desired revision, known good ones and whatever runs; remove all others."""
    needed = {known.target.build.id, known.desired.build.id, *(i.build for i in known.observed.alive)}
    needed |= {p.build.id for p in known.observed.known_good} | known.observed.builds_in_use
    return [
        RemoveBuild(build=b, cause="newer builds replaced it", reason=Reason.OBSOLETE)
        for b in known.observed.builds
        if b not in needed
    ]
