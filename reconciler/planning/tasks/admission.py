"""Choose which owed tasks of all apps may start now, within the limits of the host. Pure."""

from collections.abc import Iterable

from reconciler.planning.schedules.actions import Start
from reconciler.planning.schedules.schedule_plan import SchedulePlan
from reconciler.planning.tasks.occurrences import occurrence_of
from reconciler.planning.tasks.task import Task

# Of those that operators ask for, which wait for no occurrence: a bound on a client that asks again and again.
MOST_BY_HAND = 64


def held(tasks: Iterable[Task], schedules: SchedulePlan, unready: str) -> frozenset[str]:
    """Return the ids of the owed tasks of an app that start in no case now, and take the place of no other.

    An occurrence that its schedule lets wait for another one is among them; of an app that is not ready, all are.
    """
    due = {(action.occurrence, action.number) for action in schedules.actions if isinstance(action, Start)}
    owed = [task for task in tasks if task.state == "owed"]
    return frozenset(
        task.id
        for task in owed
        if unready or (task.kind == "schedule" and (occurrence_of(task), task.attempt) not in due)
    )


def admitted(tasks: Iterable[Task], concurrency: int, held: frozenset[str] = frozenset()) -> frozenset[str]:
    """Return the ids of the owed tasks that may start, given every task of the host that has not ended.

    Those that are `held` have no place in the queue.
    Occurrences start in the order of their planned times, `concurrency` of them at once; what an operator asked for
    starts at once, whatever occurrences run.
    """
    open_tasks = tuple(tasks)
    chosen: list[str] = []
    for by_hand, most in ((False, concurrency), (True, MOST_BY_HAND)):
        queue = [task for task in open_tasks if task.is_by_hand is by_hand]
        free = most - sum(task.state == "running" for task in queue)
        owed = sorted((task for task in queue if task.state == "owed" and task.id not in held), key=_order)
        chosen += [task.id for task in owed[: max(0, free)]]
    return frozenset(chosen)


def _order(task: Task) -> tuple[float, float, str]:
    return (task.owed_at if task.planned_at is None else task.planned_at, task.owed_at, task.id)
