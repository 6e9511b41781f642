"""The observed state of the tasks of one app, as far as planning needs it."""

from reconciler.linux.dataclass import dataclass
from reconciler.planning.schedules.actions import Note
from reconciler.planning.schedules.schedule_plan import SchedulePlan
from reconciler.planning.tasks.task import Task

NO_SCHEDULES = SchedulePlan()


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedTasks:
    """The tasks of an app that have not ended, oldest first.

    `ended` are the ids of running ones whose process is gone, `admitted` those of owed ones that may start now, as far
    as the whole host is concerned. `removed` says that no manifest describes the app any more; `unready` is why no
    command of it can start now, "" if one can. `overdue_at` are monotonic seconds, by id, at which a task must
    have ended by itself. `schedules` is what is planned for its schedules, and
    `told` are the notes of that which were told.
    """

    tasks: tuple[Task, ...] = ()
    ended: frozenset[str] = frozenset()
    admitted: frozenset[str] = frozenset()
    removed: bool = False
    unready: str = ""
    overdue_at: tuple[tuple[str, float], ...] = ()
    schedules: SchedulePlan = NO_SCHEDULES
    told: frozenset[Note] = frozenset()
