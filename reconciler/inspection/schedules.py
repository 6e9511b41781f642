"""The schedules of an app as facts: when each runs next, and how its last task ended."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.inspection.snapshot import HostSnapshot
from reconciler.planning.schedules.schedule import Schedule
from reconciler.planning.schedules.times import next_after
from reconciler.planning.tasks.task import Task
from reconciler.planning.wording import listed, span


def schedule_rows(
    snapshot: HostSnapshot, app: str, desired: Sequence[Mapping[str, Any]]
) -> tuple[Mapping[str, Any], ...]:
    """Return a row for each schedule; times are wall-clock seconds, `next_at` None while none is to come."""
    return tuple(_row(app, each, snapshot.last_of_schedules.get((app, str(each["name"])))) for each in desired)


def note_on_schedules(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say which schedules fail, or which runs next; "" if none does."""
    failing = [row for row in rows if row["state"] == "failing"]
    if failing:
        first = failing[0]
        more = f"; {listed([str(row['name']) for row in failing[1:]])} fail, too" if len(failing) > 1 else ""
        return f"schedule {first['name']} is failing: task {first['task']}: {first['message']}{more}"
    coming = min((row for row in rows if row["next_at"] is not None), key=lambda row: row["next_at"], default=None)
    if coming is None:
        return ""
    now = time.time()  # noqa: TID251  shown to people
    return f"next {coming['name']} in {span(max(0.0, coming['next_at'] - now))}"


def _row(app: str, desired: Mapping[str, Any], last: Task | None) -> Mapping[str, Any]:
    schedule = Schedule(app=app, command=(), **desired)
    state = "paused" if schedule.paused else "ready"
    if last is not None and last.state == "failed":
        state = "failing"
    return {
        "name": schedule.name,
        "at": schedule.at,
        "every_s": schedule.every_s,
        "zone": schedule.zone,
        "state": state,
        "next_at": None if schedule.paused else _next_at(schedule, last),
        "task": None if last is None else last.id,
        "message": "" if last is None else last.ending,
        "ended_at": None if last is None else last.ended_at,
    }


def _next_at(schedule: Schedule, last: Task | None) -> float | None:
    now = time.time()  # noqa: TID251  the same
    if schedule.every_s is not None:
        began = now if last is None or last.started_at is None else last.started_at
        return max(now, began + schedule.every_s)
    try:
        at = next_after(schedule, now - schedule.offset_s)
    except ValueError:  # written by another version
        return None
    return None if at is None else float(at + schedule.offset_s)
