"""The difference between what is asked of one app and what is true, as actions in order.

`plan` is a function: the same three arguments give the same plan, and nothing outside them matters. Its laws: what
serves is never stopped before its successor is ready, no build is discarded under an instance, never more than two
generations are alive, a revision that failed is not tried again before its time, and with nothing to change there is
nothing to do.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeAlias

from reconciler.planning.apps.actions import (
    Action,
    ForgetApp,
    MarkGood,
    ReadSource,
    Reap,
    RecordFailure,
    Release,
    RemoveBuild,
    Sleep,
    Stage,
    Start,
    Stop,
    Unlisten,
)
from reconciler.planning.apps.failures import crash_delay_s, has_failed, reap, record_failures
from reconciler.planning.apps.listening import answer_at, dormant, listen, listeners, move, serve_holding_page, unlisten
from reconciler.planning.apps.observed import Failure, Instance, Observed
from reconciler.planning.desired import App, Revision

State: TypeAlias = Literal[
    "pending",
    "staging",
    "starting",
    "running",
    "degraded",
    "failing",
    "sleeping",
    "stopping",
    "stopped",
    "maintenance",
    "invalid",
]

_READ_AGAIN_S = 30.0
_NEVER = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do, in order; what to call the app meanwhile; and when time alone could change the answer.

    `at_once` is done beside whatever else is being done: it takes no time and cannot fail. `wanted` is the id of the
    revision that should run, None while it cannot be known. `look_again_at` is monotonic seconds. `settled` means that
    the app is as asked and nothing is left to do; `failures` counts how often what is wanted failed in a row.
    """

    actions: tuple[Action, ...]
    state: State
    immediate: tuple[Action, ...] = ()
    message: str = ""
    wanted: str | None = None
    recheck_at: float | None = None
    settled: bool = False
    failures: int = 0
    reportable: ClassVar[bool] = False

    @property
    def first(self) -> Action | None:
        """The action to do now, None when nothing is left."""
        return self.actions[0] if self.actions else None


def plan(app: App | None, observed: Observed, now: float) -> Plan:
    """What to do for one app; `app` is None when no manifest asks for it, `now` is monotonic seconds."""
    if app is None:
        return _remove(observed)
    if (
        observed.override is not None
        and observed.override.kind == "stopped"
        and observed.override.holds_for == app.fingerprint
    ):
        return _halt(observed, "it was stopped by hand, until its manifest changes")
    if app.state == "stopped":
        return _halt(observed, "its manifest says state: stopped")
    if app.state == "maintenance":
        return _maintain(app, observed)
    if _must_read(app, observed, now):
        return _read(app, observed, now)
    return _Serving(app, observed, now).plan()


def state_when_failing(observed: Observed) -> State:
    """What to call an app whose next action keeps failing: degraded while something of it serves."""
    return "degraded" if observed.serves else "failing"


def _remove(observed: Observed) -> Plan:
    cause = "no manifest asks for it any more"
    actions = _close_down(observed, cause)
    actions += [RemoveBuild(build=b, cause=cause) for b in observed.builds]
    if actions or observed.has_residue:
        actions.append(ForgetApp(cause=cause))
    return _after_leaning(observed, actions, "stopping", cause)


def _halt(observed: Observed, cause: str) -> Plan:
    actions = _close_down(observed, cause)
    return _after_leaning(observed, actions, "stopping" if actions else "stopped", cause)


def _after_leaning(observed: Observed, actions: list[Action], state: State, cause: str) -> Plan:
    made = Plan(actions=tuple(actions), state=state, message=cause, settled=not actions)
    return _waits_for_leaning(observed, cause) or made


def _waits_for_leaning(observed: Observed, cause: str) -> Plan | None:
    """Apps that depend on this one and are ending too go first; None when there are none, or nothing is to end."""
    if not observed.stopping_dependents or all(i.end is not None for i in observed.instances):
        return None
    return Plan(
        actions=(), state="stopping", message=f"{cause}; waits for {', '.join(observed.stopping_dependents)} to stop"
    )


def _maintain(app: App, observed: Observed) -> Plan:
    cause = "its manifest says state: maintenance"
    actions: list[Action] = [*reap(None, observed, 0.0), *listen(app, observed)]
    waiting = _waits_for_leaning(observed, cause)
    if waiting is not None:
        return replace(waiting, actions=tuple(actions), state="maintenance")
    actions += [Stop(instance=i.id, cause=cause) for i in observed.alive]
    actions += unlisten(app, observed)
    door = serve_holding_page(app, observed) if app.address in observed.listeners else ()
    return Plan(actions=tuple(actions), immediate=door, state="maintenance", message=cause, settled=not actions)


def _read(app: App, observed: Observed, now: float) -> Plan:
    cause = "it was not read yet" if observed.source is None else "it changed"
    read = ReadSource(source=app.source, source_generation=observed.source_generation, cause=cause)
    state: State = "running" if observed.serves else "staging"
    answered_at = answer_at(app, observed)
    return Plan(
        actions=(*reap(None, observed, 0.0), read),
        immediate=listeners(app, observed, now),
        state=state,
        message="reading its source",
        recheck_at=answered_at if now < answered_at < _NEVER else None,
    )


def _must_read(app: App, observed: Observed, now: float) -> bool:
    look = observed.source
    if look is None or look.source != app.source:
        return True
    return look.stale and (look.problem is None or now >= look.tried_at + _READ_AGAIN_S)


class _Serving:
    """Planning for an app that is asked to run and whose source is known."""

    def __init__(self, app: App, observed: Observed, now: float) -> None:
        assert observed.source is not None
        self.app = app
        self.observed = observed
        self.now = now
        self.asked = observed.inputs.revision(app, observed.source.content)
        self.target = _rolled_back(app, observed) or self.asked
        self.trouble = observed.failure_of(self.target.id)
        # Without all that it is supplied with the target is none: it may look like what ran last.
        self.fallback = _fallback(app, None if observed.inputs.missing else self.target, observed)
        self.current = _best(self.target, observed)
        self.others = tuple(i for i in observed.alive if i is not self.current)
        self.dormant = dormant(app, observed)

    def plan(self) -> Plan:
        ended: tuple[Reap | RecordFailure, ...] = (
            *reap(self.app, self.observed, self.now),
            *record_failures(self.app, self.observed, self.now),
        )
        if self.observed.inputs.missing and self.target is self.asked:
            return self._without_supplies(ended)
        if self.current is not None and self.current.ready:
            made = self._keep(self.current)
        elif self._sleeps():
            made = self._sleep_on()
        elif self._needs_fallback() and not self.observed.unmet_dependencies:
            made = self._fall_back()
        elif self.current is None and self._try_at() > self.now:
            made = self._wait()
        elif self.current is None and self.observed.unmet_dependencies and not self.observed.serves:
            made = self._wait_for_others()
        else:
            made = self._start()
        return replace(
            made,
            actions=(*ended, *made.actions),
            immediate=listeners(self.app, self.observed, self.now),
            wanted=self.target.id,
            recheck_at=self._look_again(),
            settled=made.settled and not ended,
            failures=self.trouble.count if self.trouble else 0,
        )

    # What is done, by how things stand.

    def _keep(self, current: Instance) -> Plan:
        """The target serves: finish the hand-over, prove it in time, put it to sleep when nobody asks for it."""
        actions: list[Action] = [*listen(self.app, self.observed), *self._stage()]
        actions += [Stop(instance=i.id, cause="its successor serves") for i in self.others]
        actions += unlisten(self.app, self.observed)
        if self._is_proven():
            actions += self._discard()
        elif self.now >= self._proven_at(current):
            actions.append(MarkGood(revision=self.target, cause=f"it served for {self.app.probation_s:g} s"))
        idle_at = self._idle_at(current)
        if idle_at <= self.now:
            why = (
                f"no request for {self.now - self._busy_at(current):.0f} s"
                if not self.dormant
                else "it passed its gate"
            )
            actions.append(Sleep(instance=current.id, revision=self.target.id, cause=why))
        if self.others:
            return Plan(
                actions=tuple(actions), state="starting", message="the instance before it finishes its requests"
            )
        return self._told(Plan(actions=tuple(actions), state="running", settled=not actions), current)

    def _start(self) -> Plan:
        """Nothing speaks against the target: stage it, release it, start it beside what serves."""
        actions: list[Action] = [*move(self.app, self.observed), *self._prepare()]
        crowd = _make_room(self.others)
        actions += crowd
        actions.append(self._start_of(self.target, self._why_start()))
        gone = {stop.instance for stop in crowd}
        actions += [Stop(instance=i.id, cause="its successor serves") for i in self.others if i.id not in gone]
        actions += [u for u in unlisten(self.app, self.observed) if u not in actions]
        first = actions[0]
        state: State = "staging" if isinstance(first, Stage | Release) else "starting"
        if self._was_woken() and not self.observed.serves and isinstance(first, Start):
            return Plan(actions=tuple(actions), state="running", message="waking: somebody asked for it")
        return Plan(actions=tuple(actions), state=state, message=getattr(first, "cause", ""))

    def _wait(self) -> Plan:
        """The target failed and its time has not come."""
        assert self.trouble is not None
        actions = [*move(self.app, self.observed), *self._junk()]
        state = state_when_failing(self.observed)
        told = self.trouble.reason
        serving = next((i.revision for i in self.observed.alive if i.serves), None)
        if serving == self.target.id:
            told = f"{told}; it goes on as well as it can"
        elif serving is not None:
            told = f"revision {self.target.id} failed: {told}; revision {serving} serves"
        elif self.trouble.count > 1:
            told = f"failed {self.trouble.count} times in a row, at last: {told}"
        return Plan(actions=tuple(actions), state=state, message=told)

    def _fall_back(self) -> Plan:
        """Nothing serves and the target cannot at once: bring the last proven revision back first."""
        assert self.fallback is not None
        why = self.trouble.reason if self.trouble is not None else "it is not staged yet"
        cause = f"revision {self.target.id} cannot serve: {why}"
        coming = _best(self.fallback, self.observed)
        rest = tuple(i for i in self.observed.alive if i is not coming)
        actions: list[Action] = [*move(self.app, self.observed), *_make_room(rest)]
        actions.append(self._start_of(self.fallback, cause))
        return Plan(actions=tuple(actions), state=state_when_failing(self.observed), message=cause)

    def _without_supplies(self, ended: tuple[Reap | RecordFailure, ...]) -> Plan:
        """What should run cannot be known yet: what runs goes on, what ran last comes back, and the code is staged."""
        inputs = self.observed.inputs
        serving = next((i.revision for i in self.observed.alive if i.serves), None)
        waits = f"waits for {'; '.join(inputs.missing)}"
        actions: list[Action] = [*ended, *move(self.app, self.observed)]
        again_at = [inputs.again_at, answer_at(self.app, self.observed)]
        if serving is not None:
            actions += [*self._stage(), *self._junk()]
        elif self.fallback is not None and not self.dormant and not self.observed.unmet_dependencies:
            again_at.append(self._fallback_at())
            if self._fallback_at() <= self.now:
                coming = _best(self.fallback, self.observed)
                actions += _make_room(tuple(i for i in self.observed.alive if i is not coming))
                actions.append(self._start_of(self.fallback, "what ran last serves until it has all it asks for"))
        else:
            actions += [*self._stage(), *self._junk()]
        return Plan(
            actions=tuple(actions),
            state="pending" if serving is None else "degraded",
            immediate=listeners(self.app, self.observed, self.now),
            message=waits if serving is None else f"{waits}; revision {serving} serves",
            recheck_at=min((at for at in again_at if at is not None and self.now < at < _NEVER), default=None),
            failures=inputs.failures,
        )

    def _wait_for_others(self) -> Plan:
        """What it depends on does not serve yet; everything else is made ready."""
        actions: list[Action] = [*move(self.app, self.observed), *self._prepare()]
        actions += [Stop(instance=i.id, cause="what it depends on does not serve") for i in self.others]
        return Plan(
            actions=tuple(actions), state="pending", message=f"waits for {', '.join(self.observed.unmet_dependencies)}"
        )

    def _sleep_on(self) -> Plan:
        """Nobody asks for it: staged and listening is all it has to be."""
        due = self._try_at() <= self.now
        actions: list[Action] = [*(self._prepare() if due else ()), *listen(self.app, self.observed)]
        actions += [Stop(instance=i.id, cause="it is asleep") for i in self.others]
        actions += unlisten(self.app, self.observed)
        if not actions:
            actions += self._discard()
        told = self.trouble.reason if self.trouble is not None else ""
        state: State = "staging" if actions and isinstance(actions[0], Stage | Release) else "sleeping"
        return Plan(actions=tuple(actions), state=state, message=told, settled=due and not actions)

    # What is known.

    def _sleeps(self) -> bool:
        """Dormant, and either gated already, or not to be gated before somebody comes, or not for now."""
        if not self.dormant or self.current is not None:
            return False
        gated = self.observed.sleep_state.gate_passed
        return gated in (None, self.target.id) or self._try_at() > self.now

    def _needs_fallback(self) -> bool:
        if self.fallback is None or self._is_well_served() or self.dormant or self.current is not None:
            return False
        if self._fallback_at() > self.now:
            return False
        return not self._is_staged() or (self.trouble is not None and self.trouble.kind == "rejected")

    def _was_woken(self) -> bool:
        return self.app.may_sleep and self.observed.sleep_state.activated_at is not None

    def _is_staged(self) -> bool:
        return self.target.build.id in self.observed.builds

    def _is_proven(self) -> bool:
        return any(p.id == self.target.id for p in self.observed.known_good[:1])

    def _proven_at(self, current: Instance) -> float:
        assert current.ready_at is not None
        return current.ready_at + self.app.probation_s

    def _try_at(self) -> float:
        """When the target may be tried: at once after a crash, later when it never proved itself and another serves."""
        return self._due_at(self.trouble, beside=self.fallback is not None or self.observed.serves)

    def _fallback_at(self) -> float:
        """When the fallback may be tried; it failing too is no reason to spin."""
        trouble = None if self.fallback is None else self.observed.failure_of(self.fallback.id)
        return self._due_at(trouble, beside=self.observed.serves)

    def _due_at(self, trouble: Failure | None, *, beside: bool) -> float:
        """When what failed may be tried again; what is bad is not tried at once where there is something better."""
        if trouble is None:
            return -_NEVER
        count = trouble.count + (trouble.kind == "rejected" and beside)
        return trouble.last_at + crash_delay_s(self.app.crash, count, self.app.name)

    def _busy_at(self, current: Instance) -> float:
        return max(
            current.busy_at or -_NEVER, current.ready_at or -_NEVER, self.observed.sleep_state.activated_at or -_NEVER
        )

    def _idle_at(self, current: Instance) -> float:
        """When nobody will have asked for long enough."""
        if self.dormant:
            return -_NEVER
        return _NEVER if self.app.idle_after_s is None else self._busy_at(current) + self.app.idle_after_s

    # The pieces of a plan.

    def _stage(self) -> list[Action]:
        if self._is_staged():
            return []
        cause = "its source or the way it is built changed" if self.observed.builds else "it was never staged"
        return [Stage(build=self.target.build, cause=cause)]

    def _prepare(self) -> list[Action]:
        actions = self._stage()
        release = self.target.release_id
        if release is not None and release not in self.observed.released:
            cause = "its build or its environment is new" if self.observed.released else "it was never run"
            failing = self._failing(self.target)
            actions.append(Release(release=release, revision=self.target, failing=failing, cause=cause))
        return actions

    def _start_of(self, revision: Revision, cause: str) -> Start:
        return Start(revision=revision, failing=self._failing(revision), cause=cause)

    def _failing(self, revision: Revision) -> Failure:
        """What to remember when this revision does not get as far as serving; the reason and the time are filled in."""
        before = self.observed.failure_of(revision.id)
        count = before.count if before is not None else 0
        known_good = any(p.id == revision.id for p in self.observed.known_good)
        kind: Literal["crashed", "rejected"] = "crashed" if known_good else "rejected"
        return Failure(revision=revision.id, kind=kind, count=count + 1, last_at=self.now, reason="")

    def _junk(self) -> list[Action]:
        """What is alive without serving and is not on its way to, or serves badly where another does well."""
        coming = None if self.fallback is None else _best(self.fallback, self.observed)
        well = self._is_well_served()
        return [
            Stop(instance=i.id, cause="it is neither wanted nor of use any more")
            for i in self.others
            if i is not coming and (not i.serves or (well and has_failed(i, self.observed)))
        ]

    def _is_well_served(self) -> bool:
        return any(i.serves and not has_failed(i, self.observed) for i in self.observed.alive)

    def _discard(self) -> list[Action]:
        """Keep the builds of what is wanted, of what is alive and of what was proven last."""
        needed = {self.target.build.id, self.asked.build.id, *(i.build for i in self.observed.alive)}
        needed |= {p.build.id for p in self.observed.known_good}
        cause = "newer builds took its place"
        return [RemoveBuild(build=b, cause=cause) for b in self.observed.builds if b not in needed]

    def _why_start(self) -> str:
        if self.trouble is not None:
            return f"it failed: {self.trouble.reason}"
        if self._was_woken() and not self.others:
            return "somebody asked for it"
        if not self.others:
            return "nothing of it runs"
        unwell = next((i.unhealthy for i in self.others if i.unhealthy), None)
        if unwell is not None:
            return f"the running instance is unwell: {unwell}"
        if any(i.detached for i in self.others):
            return "the listener of the running instance could not be fetched back"
        if any(i.revision == self.target.id and i.started_at < self.observed.restart_before for i in self.others):
            return "a restart was asked for"
        same = any(i.build == self.target.build.id for i in self.others)
        return "its configuration changed" if same else "its code changed"

    def _told(self, made: Plan, current: Instance) -> Plan:
        look = self.observed.source
        assert look is not None
        if current.note is not None:
            return replace(made, state="degraded", message=current.note, settled=False)
        if look.problem is not None:
            return replace(made, state="degraded", message=f"its last build serves, but {look.problem}", settled=False)
        if self.observed.inputs.stale:
            message = f"it serves with what was known last: {'; '.join(self.observed.inputs.stale)}"
            return replace(made, state="degraded", message=message, settled=False)
        if self.target is not self.asked:
            return replace(made, message="rolled back by hand, until its manifest or source changes")
        return made

    # The clock.

    def _look_again(self) -> float | None:
        times: list[float] = []
        look = self.observed.source
        if look is not None and look.problem is not None and look.stale:
            times.append(look.tried_at + _READ_AGAIN_S)
        if self.current is not None and self.current.ready:
            times += [self._idle_at(self.current)]
            if not self._is_proven():
                times.append(self._proven_at(self.current))
        elif self.current is None and not (self.dormant and self._sleeps() and self.trouble is None):
            times += [self._try_at(), self._fallback_at()]
        times.append(answer_at(self.app, self.observed))
        coming = [at for at in times if self.now < at < _NEVER]
        return min(coming, default=None)


def _rolled_back(app: App, observed: Observed) -> Revision | None:
    """What an operator went back to, as long as what is asked is what it was then and its build is still there."""
    override = observed.override
    assert observed.source is not None
    if override is None or override.revision is None or override.holds_for != app.revision(observed.source.content).id:
        return None
    return _as_of_today(app, override.revision, observed)


def _as_of_today(app: App, earlier: Revision, observed: Observed) -> Revision | None:
    """An earlier revision where the app listens now, with the credentials of today; None when it cannot serve again."""
    here = earlier if earlier.address == app.address else replace(earlier, address=app.address)
    back = observed.inputs.todays(here)
    return back if back is not None and back.build.id in observed.builds else None


def _fallback(app: App, target: Revision | None, observed: Observed) -> Revision | None:
    """The last proven revision that is not the target, where the app listens now, if its build is still there."""
    for known_good in observed.known_good:
        back = _as_of_today(app, known_good, observed)
        if back is not None and (target is None or target.id not in {back.id, known_good.id}):
            return back
    return None


def _best(revision: Revision, observed: Observed) -> Instance | None:
    """The one instance of the revision to keep, the readiest and then the oldest of those that may be kept."""
    fitting = [
        i
        for i in observed.alive
        if i.revision == revision.id
        and i.stopping_since is None
        and not i.detached
        and not has_failed(i, observed)
        and i.started_at >= observed.restart_before
    ]
    return min(fitting, key=lambda i: (not i.ready, i.started_at), default=None)


def _close_down(observed: Observed, cause: str) -> list[Action]:
    return [
        *reap(None, observed, 0.0),
        *(Stop(instance=i.id, cause=cause) for i in observed.alive),
        *(Unlisten(address=a, cause=cause) for a in sorted(observed.listeners, key=str)),
    ]


def _make_room(others: Iterable[Instance]) -> tuple[Stop, ...]:
    """Of the generations before this one only the best may stay while the new one starts, and only if it is of use."""
    ranked = sorted(others, key=lambda i: (i.serves, i.ready, i.started_at))
    crowd = ranked[:-1] if ranked and ranked[-1].ready else ranked
    return tuple(Stop(instance=i.id, cause="it is neither wanted nor of use any more") for i in crowd)
