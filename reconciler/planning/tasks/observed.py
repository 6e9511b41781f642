"""The observed state of the tasks of one app, as far as planning needs it."""

from dataclasses import dataclass

from reconciler.planning.tasks.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedTasks:
    """The tasks of an app that have not ended, oldest first.

    `ended` are the ids of running ones whose process is gone, `admitted` those of owed ones that may start now, as far
    as the whole host is concerned. `removed` says that no manifest describes the app any more; `unready` is why no
    command of it can start now, "" if one can. `told` are monotonic seconds, by id, at which a task was told to end,
    and `overdue_at` those at which it must have ended by itself.
    """

    tasks: tuple[Task, ...] = ()
    ended: frozenset[str] = frozenset()
    admitted: frozenset[str] = frozenset()
    removed: bool = False
    unready: str = ""
    overdue_at: tuple[tuple[str, float], ...] = ()
