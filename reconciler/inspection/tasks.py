"""The tasks of apps as facts, for the command line, the API and the page."""

from typing import Any

from reconciler.planning.tasks.task import Task
from reconciler.vault.command_lines import redacted_command


def command_line(task: Task) -> str:
    """Return the command of a task as an operator would write it, its secrets masked."""
    return redacted_command(task.line)


def facts(task: Task) -> dict[str, Any]:
    """Return what is known of a task; times are wall-clock seconds, sizes bytes, and None is what is not known."""
    return {
        "id": task.id,
        "app": task.app,
        "kind": task.kind,
        "name": task.name,
        "command": command_line(task),
        "state": task.state,
        "cause": task.cause,
        "asked_by": task.asked_by or None,
        "schedule": task.schedule or None,
        "planned_at": task.planned_at,
        "attempt": task.attempt,
        "revision": task.revision or None,
        "owed_at": task.owed_at,
        "started_at": task.started_at,
        "ended_at": task.ended_at,
        "took_s": task.took_s,
        "timeout_s": task.timeout_s,
        "exit": task.exit_status,
        "signal": task.signal,
        "message": task.ending,
        "memory": task.peak_memory,
        "printed": task.log_size,
        "said": task.said,
        "cancelled_by": task.cancelled_by or None,
    }
