"""The actions about the tasks of one app. Each carries the id of a task and compares by it.

None of them waits for the end of a task: that a task has ended wakes its app.
"""

from typing import TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.plan import PlannedAction
from reconciler.planning.schedules.actions import Action as ScheduleAction
from reconciler.planning.schedules.actions import Note


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTask(PlannedAction):
    """Put on record that a task begins, and start its process."""

    task: str

    def __str__(self) -> str:
        return f"start task {self.task}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndTask(PlannedAction):
    """Tell a running task to end: SIGTERM, and after its grace SIGKILL for all that it started."""

    task: str

    def __str__(self) -> str:
        return f"end task {self.task}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KillTask(PlannedAction):
    """Kill everything of a task whose own runner did not end it in time."""

    task: str

    def __str__(self) -> str:
        return f"kill task {self.task}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DropTask(PlannedAction):
    """Put on record that an owed task is not started."""

    task: str

    def __str__(self) -> str:
        return f"drop task {self.task}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordEnd(PlannedAction):
    """Put on record how a task ended."""

    task: str

    def __str__(self) -> str:
        return f"record the end of task {self.task}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordOccurrences(PlannedAction):
    """Put on record what was decided about occurrences of schedules: all of it, or nothing."""

    decided: tuple[ScheduleAction, ...]

    def __str__(self) -> str:
        return "record what its schedules owe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell(PlannedAction):
    """Tell that an occurrence is late, or takes too long."""

    note: Note

    def __str__(self) -> str:
        return f"tell of schedule {self.note.occurrence.schedule}"


Action: TypeAlias = StartTask | EndTask | KillTask | DropTask | RecordEnd | RecordOccurrences | Tell
