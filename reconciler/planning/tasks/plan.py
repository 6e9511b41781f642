"""Decide what to do next about the tasks of one app. Pure: a function of what is asked, what is true, and the time.

What has ended is recorded first, as that frees what waits for it; then what is to end is told so, and what is owed
starts, in the order of its planned time.
"""

from reconciler.planning.plan import Plan
from reconciler.planning.reason import Reason
from reconciler.planning.tasks.actions import Action, DropTask, EndTask, KillTask, RecordEnd, StartTask
from reconciler.planning.tasks.observed import ObservedTasks

_REMOVED = "its app was removed"


def plan(observed: ObservedTasks, now: float) -> Plan[Action]:
    """Return what to do about the tasks of an app; `now` is monotonic seconds."""
    actions = [*_recorded(observed), *_ended(observed, now), *_started(observed)]
    overdue = [at for _, at in observed.overdue_at if at > now]
    return Plan(
        actions=tuple(actions),
        state="running",
        recheck_at=min(overdue, default=None),
        settled=not actions and not observed.tasks,
    )


def _recorded(observed: ObservedTasks) -> list[Action]:
    ended = (task.id for task in observed.tasks if task.id in observed.ended)
    return [RecordEnd(cause="its process has ended", task=task) for task in ended]


def _ended(observed: ObservedTasks, now: float) -> list[Action]:
    actions: list[Action] = []
    overdue = {task for task, at in observed.overdue_at if now >= at}
    for task in observed.tasks:
        cause = _REMOVED if observed.removed else task.cancelled_by
        reason = Reason.MANIFEST_REMOVED if observed.removed else Reason.NONE
        if task.id in observed.ended:
            continue
        if task.state == "owed" and cause:
            actions.append(DropTask(cause=cause, reason=reason, task=task.id))
        elif task.id in overdue:
            actions.append(KillTask(cause="it did not end in time", task=task.id))
        elif task.state == "running" and cause and task.told_at is None:
            actions.append(EndTask(cause=cause, reason=reason, task=task.id))
    return actions


def _started(observed: ObservedTasks) -> list[Action]:
    if observed.removed or observed.unready:
        return []
    owed = [task for task in observed.tasks if task.state == "owed" and not task.cancelled_by]
    return [StartTask(cause=task.cause, task=task.id) for task in owed if task.id in observed.admitted]
