"""Say, in an operator's words, why the plan for an app is as it is. Nothing decides by these words."""

from collections.abc import Sequence
from dataclasses import replace

from reconciler.planning.apps.actions import Action, Release, Stage, Start
from reconciler.planning.apps.assessment import Assessment
from reconciler.planning.apps.observed import Failure, Instance
from reconciler.planning.reason import Cause, Reason


def doing(known: Assessment, first: Action) -> Cause:
    """Say how far the instance that starts has come, if it says so, or else why the first action is taken."""
    if isinstance(first, Start) and known.current is not None and known.current.note is not None:
        return Cause(Reason.WORKER_WAITING, known.current.note)
    return Cause(first.reason, first.cause)


def why_start(known: Assessment) -> Cause:
    """Say why an instance of the target is started."""
    if known.failure is not None and known.failed_to_stage is None:
        return Cause(because(known.failure).reason, f"it failed: {known.failure.reason}")
    if known.is_waking and not known.others:
        return Cause(Reason.WAKING, "a request arrived")
    if not known.others:
        return Cause(Reason.NOT_RUNNING, "the app was not running")
    unhealthy = next((i.unhealthy for i in known.others if i.unhealthy), None)
    if unhealthy is not None:
        return Cause(Reason.UNHEALTHY, f"the running instance is unhealthy: {unhealthy}")
    outgrown = next((i.outgrown for i in known.others if i.outgrown and i.revision == known.target.id), "")
    if outgrown:
        return Cause(Reason.LIMIT_NEAR, f"the running instance is near its limit: {outgrown}")
    if any(i.detached for i in known.others):
        return Cause(Reason.LISTENER_LOST, "the running instance has lost the app's listener")
    before = known.observed.restart_before
    if any(i.revision == known.target.id and i.started_at < before for i in known.others):
        return Cause(Reason.RESTART_REQUESTED, "an operator requested a restart")
    if known.is_rolled_back:
        return Cause(Reason.ROLLED_BACK_BY_OPERATOR, "an operator rolled back to it")
    if any(i.build == known.target.build.id for i in known.others):
        return Cause(Reason.CONFIGURATION_CHANGED, "its configuration changed")
    return Cause(Reason.SOURCE_CHANGED, "its code changed")


def why_sleep(known: Assessment, current: Instance) -> Cause:
    """Say why the app goes to sleep."""
    if known.dormant:
        return Cause(Reason.GATE_PASSED, "it passed its gate")
    return Cause(Reason.IDLE, f"no request for {known.now - known.busy_at(current):.0f} s")


def why_backing_off(known: Assessment, failure: Failure) -> Cause:
    """Say why the target is not started yet, and what serves instead."""
    serving = known.serving
    if serving is None:
        return _in_a_row(failure)
    if serving.revision == known.target.id and failure.phase != "staging":
        return Cause(Reason.UNHEALTHY, f"{failure.reason}; the instance keeps serving")
    return instead(known, f"revision {known.target.id} failed: {failure.reason}; revision {serving.revision} serves")


def instead(known: Assessment, text: str) -> Cause:
    """Say that another revision serves, or is started: the target was rejected, unless it has no build."""
    return Cause(Reason.FALLEN_BACK if known.failed_to_stage is None else Reason.STAGING_FAILED, text)


def trying_again(known: Assessment, failure: Failure, first: Action) -> Cause:
    """Say what is tried now of what keeps failing; of a build or a release, its own progress says that."""
    cause = _in_a_row(failure)
    if isinstance(first, Stage | Release):
        return cause
    note = None if known.current is None else known.current.note
    return replace(cause, text=f"{cause.text}; trying again: {note or first}")


def withheld(known: Assessment, cause: Cause) -> Cause:
    """Return a cause with what has to happen before the target is tried again, if time alone does not do it.

    Of a build that cannot be made, it is told in either case whether an edit is needed.
    """
    if known.failed_to_stage is not None:
        return replace(cause, text=f"{cause.text}; {_outlook(known)}")
    if not known.is_withheld:
        return cause
    down = "once the service has recovered, " if known.observed.inputs.down else ""
    again = f"tried again {down}after an edit or 'reconciler restart {known.app.name}'"
    return replace(cause, text="; ".join((cause.text, *known.observed.inputs.down, again)))


def finishing(which: str, served: Sequence[Instance]) -> str:
    """Say that what served finishes its requests, and what happens if it does not end; `which` names one of them."""
    first, more = served[0], f" and {len(served) - 1} more" if served[1:] else ""
    killed = f"it is killed after {first.stop_timeout_s:g} s (stop_timeout)"
    return f"{which} (pid {first.pid}{more}) is finishing its requests; {killed}"


def cannot_stage(known: Assessment) -> Cause | None:
    """Say why the target's build could not be made, and what can change that; None if it is made or was not tried."""
    failure = known.failed_to_stage
    return None if failure is None else withheld(known, _in_a_row(failure))


def _outlook(known: Assessment) -> str:
    if known.is_withheld:
        return f"only an edit can fix this: tried again after one or 'reconciler restart {known.app.name}'"
    return "this may pass without an edit: tried again by itself"


def _in_a_row(failure: Failure) -> Cause:
    text = f"failed {failure.count} times in a row, most recently: {failure.reason}"
    return replace(because(failure), text=text) if failure.count > 1 else because(failure)


def because(failure: Failure) -> Cause:
    """Say how a revision failed."""
    if failure.phase == "staging":
        return Cause(Reason.STAGING_FAILED, failure.reason)
    return Cause(Reason.CRASHED if failure.kind == "crashed" else Reason.REVISION_REJECTED, failure.reason)
