"""The tasks of schedules as records of their occurrences, which planning schedules knows. Pure."""

from collections.abc import Iterable
from dataclasses import replace

from reconciler.planning.schedules.observed import Occurrence, Record, RecordState
from reconciler.planning.tasks.task import Task

_STATES: dict[str, RecordState] = {
    "owed": "owed", "running": "running", "succeeded": "succeeded", "failed": "failed", "cancelled": "failed",
    "skipped": "skipped", "missed": "missed",
}  # fmt: skip


def occurrence_of(task: Task) -> Occurrence | None:
    """Return the occurrence that a task is an attempt of, None for one of no schedule."""
    if task.kind != "schedule" or task.planned_at is None:
        return None
    return Occurrence(task.schedule, task.fingerprint, int(task.planned_at))


def records_of(tasks: Iterable[Task], boot: str) -> tuple[Record, ...]:
    """Return the records of occurrences, each as its last attempt left it, given the attempts; `boot` is this one."""
    last: dict[Occurrence, Task] = {}
    for task in tasks:
        occurrence = occurrence_of(task)
        if occurrence is not None and (occurrence not in last or last[occurrence].attempt < task.attempt):
            last[occurrence] = task
    return tuple(_record(occurrence, task, boot) for occurrence, task in last.items())


def _record(occurrence: Occurrence, task: Task, boot: str) -> Record:
    record = Record(
        occurrence=occurrence,
        state=_STATES[task.state],
        owed_at=task.owed_at,
        attempt=task.attempt,
        started_at=task.started_at,
        started_monotonic=task.started_monotonic if task.boot == boot else None,
        ended_at=task.ended_at,
        made_up=task.made_up,
        triggered=task.asked_by != "",
        retriable=task.cancelled_by == "",
    )
    # One that is owed once more has had the attempts before.
    return replace(record, attempt=task.attempt - 1) if task.state in {"owed", "skipped", "missed"} else record
