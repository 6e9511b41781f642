"""Plan the next action on an origin in git, and say in which state it is. Pure.

Whatever cannot be fetched, read or accepted changes nothing: what is in force stays in force.
"""

from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.origins.actions import (
    Action,
    Fetch,
    Judge,
    JudgeTrial,
    Leave,
    LeaveTrial,
    Materialise,
    Report,
    TakeEffect,
    Tidy,
)
from reconciler.planning.origins.observed import ObservedOrigin

OriginState: TypeAlias = Literal[
    "pending",
    "current",
    "refused",
    "rewound",
    "missing",
    "unreachable",
    "stale",
    "paused",
    "held",
    "returned",
    "trial",
    "waiting",
]

_SHORT = 7
_FAILURES_TO_TELL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginPlan:
    """The next action on an origin, None when there is none; its state, and a message that says why it is in it."""

    action: Action | None
    state: OriginState
    message: str


def short(commit: str | None) -> str:
    """Return the first digits of a commit's id, as people write it."""
    return "-" if commit is None else commit[:_SHORT]


def plan(observed: ObservedOrigin, *, now: float, monotonic: float, stale_after_s: float) -> OriginPlan:
    """Return what to do about an origin at this time of day; `monotonic` is compared with the time of the next look."""
    state, message = _state(observed, now, stale_after_s)
    return OriginPlan(action=_action(observed, now, monotonic), state=state, message=message)


def _action(observed: ObservedOrigin, now: float, monotonic: float) -> Action | None:
    is_due = observed.due_at <= monotonic
    if is_due and not observed.is_unfinished:
        return Fetch()
    action = _after_a_look(observed, now)
    # Looks that take as long as the interval between them would otherwise keep a commit from being in force.
    return Fetch() if is_due and (action is None or isinstance(action, Tidy)) else action


def _after_a_look(observed: ObservedOrigin, now: float) -> Action | None:
    goal, accepted, verdict = _goal(observed), observed.accepted, observed.verdict
    is_judged = verdict is not None and (verdict.commit, verdict.trust) == (goal, observed.trust)
    if goal and not is_judged:
        if goal != accepted:
            return Judge(goal, "it is another commit than the accepted one")
        return Judge(goal, "what it is judged by has changed")
    if observed.has_trial and not _is_trial_judged(observed):
        return JudgeTrial(str(observed.trial.commit), f"it is on trial on top of commit {short(accepted)}")
    if observed.pause is not None and observed.pause.holds(now):
        return _aside(observed)
    wanted = observed.wanted
    if wanted is not None and wanted not in observed.trees:
        return Materialise(wanted)
    # A fleet may have this host wait, but not for a commit that was in force until a trial began.
    may_take = wanted != accepted or observed.goal in {None, accepted} or accepted == observed.base
    if wanted not in {None, observed.in_force} and may_take:
        return TakeEffect(str(wanted))
    if observed.failed and wanted is not None and wanted != accepted:
        return LeaveTrial(wanted, observed.failed)
    if observed.failed and accepted is not None and observed.good in observed.trees - {accepted}:
        return Leave(accepted, str(observed.good), observed.failed)
    return _aside(observed)


def _aside(observed: ObservedOrigin) -> Action | None:
    """Return what can be done beside anything else."""
    if observed.is_report_due:
        return Report()
    return Tidy() if observed.is_untidy else None


def _is_trial_judged(observed: ObservedOrigin) -> bool:
    verdict = observed.trial.verdict
    return verdict is not None and (verdict.commit, verdict.trust) == (observed.trial.commit, observed.trial_trust)


def _goal(observed: ObservedOrigin) -> str:
    """Return the commit to go to, "" for none: the head, unless the fleet says otherwise."""
    return (observed.head or "") if observed.goal is None else observed.goal


def _state(observed: ObservedOrigin, now: float, stale_after_s: float) -> tuple[OriginState, str]:
    serving = _stays(observed)
    failure, verdict = observed.failure, observed.verdict
    if observed.pause is not None and observed.pause.holds(now):
        return "paused", f"{observed.pause.because} (by {observed.pause.by}){_behind(observed)}"
    if failure is not None and now - (observed.heard_at or observed.began_at) > stale_after_s:
        return "stale", f"the repository has been silent for longer than 'stale_after': {failure.why}{serving}"
    if failure is not None and (failure.count >= _FAILURES_TO_TELL or observed.in_force is None):
        return "unreachable", f"{failure.why}{serving}"
    if verdict is not None and verdict.ruling != "accepted" and verdict.commit == _goal(observed):
        return verdict.ruling, f"{verdict.why}{serving}"
    if observed.head is None:
        return "pending", "it has not been fetched yet"
    if observed.waits:
        return "waiting", f"{observed.waits}{serving}"
    if observed.in_force != observed.wanted or observed.accepted != observed.head:
        return "pending", f"commit {short(_goal(observed))} is about to be judged and put in force"
    return _state_of_trial(observed)


def _state_of_trial(observed: ObservedOrigin) -> tuple[OriginState, str]:
    verdict = observed.trial.verdict
    if observed.wanted != observed.accepted:
        text = f"commit {short(observed.wanted)} is on trial on top of {short(observed.accepted)}"
        return "trial", f"{text}, until its branch is deleted or passed"
    if observed.has_trial and verdict is not None and verdict.commit == observed.trial.commit:
        return "current", f"the trial is not in force: {verdict.why}" if verdict.why else ""
    return "current", ""


def _stays(observed: ObservedOrigin) -> str:
    if observed.in_force is None:
        return "; no commit is in force yet"
    return f"; commit {short(observed.in_force)} stays in force"


def _behind(observed: ObservedOrigin) -> str:
    if observed.accepted is None or observed.accepted == observed.in_force:
        return ""
    return f"; commit {short(observed.accepted)} is accepted, and waits until 'resume'"
