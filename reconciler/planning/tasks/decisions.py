"""Turn what was decided about occurrences into the tasks and histories to put on record. Pure."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace

from reconciler.linux.dataclass import dataclass
from reconciler.planning.schedules.actions import Action, Forget, Miss, Owe, Remember, Skip, Start, Stop
from reconciler.planning.schedules.history import History
from reconciler.planning.schedules.observed import Occurrence
from reconciler.planning.schedules.schedule import Schedule
from reconciler.planning.tasks.task import Task, TaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known while it was decided: the schedules by name, and the last attempt of each occurrence on record.

    `now` are seconds since 1970; `new_id` returns an id that no task has.
    """

    schedules: Mapping[str, Schedule]
    attempts: Mapping[Occurrence, Task]
    now: float
    new_id: Callable[[], str]


@dataclass(slots=True, kw_only=True)
class Decisions:
    """The tasks to put on record, new or changed, and the histories of schedules, None for one to forget."""

    known: Known
    tasks: dict[Occurrence, Task] = field(default_factory=dict)
    histories: dict[str, History | None] = field(default_factory=dict)

    def take(self, decided: Sequence[Action]) -> None:
        """Take what was decided, in its order."""
        for action in decided:
            match action:
                case Remember():
                    self.histories[action.schedule] = action.history
                case Forget():
                    self.histories[action.schedule] = None
                case Owe() | Start():
                    self._owe(action)
                case Skip():
                    self._skip(action)
                case Miss():
                    self._miss(action)
                case Stop():
                    self._stop(action)

    def _owe(self, action: Owe | Start) -> None:
        before = self._attempt(action.occurrence)
        schedule = self.known.schedules.get(action.occurrence.schedule)
        if schedule is None:
            return
        if isinstance(action, Owe) and before is None:
            task = new_task(schedule, action.occurrence, self.known, action.cause)
            self.tasks[action.occurrence] = replace(task, made_up=action.made_up)
        elif isinstance(action, Start) and before is not None and before.attempt < action.number:
            task = new_task(schedule, action.occurrence, self.known, action.cause)
            self.tasks[action.occurrence] = replace(task, attempt=action.number, made_up=before.made_up)

    def _skip(self, action: Skip) -> None:
        task = self._attempt(action.occurrence)
        schedule = self.known.schedules.get(action.occurrence.schedule)
        if task is None and schedule is not None:
            task = new_task(schedule, action.occurrence, self.known, "")
        if task is not None and task.state == "owed":
            self.tasks[action.occurrence] = self._over(task, "skipped", action.cause)

    def _miss(self, action: Miss) -> None:
        """Put one task on record for all that were missed and are not made up for, at the time of the first."""
        occurrence, missed = Occurrence(action.schedule, action.id, action.first), action.count - action.made_up
        schedule = self.known.schedules.get(action.schedule)
        if missed > 0 and schedule is not None and self._attempt(occurrence) is None:
            task = new_task(schedule, occurrence, self.known, "")
            made_up = f"; {action.made_up} of them made up for" if action.made_up else ""
            self.tasks[occurrence] = self._over(task, "missed", f"{action.cause}{made_up}")

    def _stop(self, action: Stop) -> None:
        task = self._attempt(action.occurrence)
        if task is not None and task.is_open and not task.cancelled_by:
            self.tasks[action.occurrence] = replace(task, cancelled_by=f"the daemon, as {action.cause}")

    def _attempt(self, occurrence: Occurrence) -> Task | None:
        return self.tasks.get(occurrence) or self.known.attempts.get(occurrence)

    def _over(self, task: Task, state: TaskState, ending: str) -> Task:
        return replace(task, state=state, ending=ending, ended_at=self.known.now)


def new_task(schedule: Schedule, occurrence: Occurrence, known: Known, cause: str) -> Task:
    """Return the first attempt of an occurrence, owed from now on."""
    return Task(
        id=known.new_id(),
        app=schedule.app,
        kind="schedule",
        name=schedule.name,
        command=json.dumps({"expand": schedule.command} if schedule.expands else schedule.command),
        state="owed",
        owed_at=known.now,
        timeout_s=schedule.timeout_s,
        cause=cause,
        schedule=schedule.name,
        fingerprint=occurrence.id,
        planned_at=float(occurrence.planned_at),
    )
