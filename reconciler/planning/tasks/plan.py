"""Decide what to do next about the tasks of one app. Pure: a function of what is asked, what is true, and the time.

What has ended is recorded first, as that frees what waits for it; then what is to end is told so, then what schedules
owe is recorded, and what is owed starts, in the order of its planned time.
"""

from collections.abc import Iterator

from reconciler.planning.plan import Plan
from reconciler.planning.reason import Reason
from reconciler.planning.schedules.actions import Start
from reconciler.planning.tasks.actions import (
    Action,
    DropTask,
    EndTask,
    KillTask,
    RecordEnd,
    RecordOccurrences,
    StartTask,
    Tell,
)
from reconciler.planning.tasks.observed import ObservedTasks
from reconciler.planning.tasks.occurrences import occurrence_of
from reconciler.planning.tasks.task import Task

_REMOVED = "its app was removed"


def plan(observed: ObservedTasks, now: float) -> Plan[Action]:
    """Return what to do about the tasks of an app; `now` is monotonic seconds."""
    actions = (*_recorded(observed), *_ended(observed, now), *_decided(observed), *_started(observed))
    times = [at for _, at in observed.overdue_at if at > now]
    if observed.schedules.look_again_at is not None:
        times.append(observed.schedules.look_again_at)
    return Plan(
        actions=actions,
        immediate=tuple(Tell(cause="", note=note) for note in observed.schedules.notes if note not in observed.told),
        state="running",
        recheck_at=min(times, default=None),
        settled=not actions and not observed.tasks,
    )


def _recorded(observed: ObservedTasks) -> Iterator[Action]:
    for task in observed.tasks:
        if task.id in observed.ended:
            yield RecordEnd(cause="its process has ended", task=task.id)


def _ended(observed: ObservedTasks, now: float) -> Iterator[Action]:
    overdue = {task for task, at in observed.overdue_at if now >= at}
    for task in observed.tasks:
        cause = _REMOVED if observed.removed else task.cancelled_by
        reason = Reason.MANIFEST_REMOVED if observed.removed else Reason.NONE
        if task.id in observed.ended:
            continue
        if task.state == "owed" and cause:
            yield DropTask(cause=cause, reason=reason, task=task.id)
        elif task.id in overdue:
            yield KillTask(cause="it did not end in time", task=task.id)
        elif task.state == "running" and cause and task.told_at is None:
            yield EndTask(cause=cause, reason=reason, task=task.id)


def _decided(observed: ObservedTasks) -> Iterator[Action]:
    """Yield what is decided about occurrences and has to be on record before anything starts."""
    known = {occurrence_of(task): task for task in observed.tasks}
    decided = tuple(
        action
        for action in observed.schedules.actions
        if not isinstance(action, Start) or _is_another_attempt(action, known.get(action.occurrence))
    )
    if decided:
        yield RecordOccurrences(cause="its schedules", decided=decided)


def _is_another_attempt(action: Start, task: Task | None) -> bool:
    """Return whether an occurrence that failed is tried again, which is another task; the first is owed already."""
    return task is None and action.number > 1


def _started(observed: ObservedTasks) -> Iterator[Action]:
    if observed.removed or observed.unready:
        return
    due = {(action.occurrence, action.number) for action in observed.schedules.actions if isinstance(action, Start)}
    for task in observed.tasks:
        if task.state != "owed" or task.cancelled_by or task.id not in observed.admitted:
            continue
        occurrence = occurrence_of(task)
        if occurrence is None or (occurrence, task.attempt) in due:
            yield StartTask(cause=task.cause, task=task.id)
