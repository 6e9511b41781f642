"""Words about tasks, for events and answers. What stands in a command as a secret is masked."""

import json
from dataclasses import replace

from reconciler.planning.subject import Subject
from reconciler.planning.tasks.task import Task
from reconciler.planning.wording import span
from reconciler.state.journal import Journal
from reconciler.vault.command_lines import redacted_command

_MOST_SHOWN = 200
_SHORT_S = 9.95


def command_line(task: Task) -> str:
    """Return the command of a task as an operator would write it, shortened, its secrets masked."""
    line = redacted_command(task.line)
    return line if len(line) <= _MOST_SHOWN else f"{line[: _MOST_SHOWN - 1]}…"


def masked(journal: Journal, task: Task) -> Task:
    """Return a task whose command is only shown any more, without the secrets of its app."""
    words = [journal.redacted(Subject("app", task.app), word) for word in task.words]
    return replace(task, command=json.dumps({"expand": words} if task.expands else words))


def described(task: Task) -> str:
    """Say of a task what became of it."""
    name = "" if task.name in {"", task.words[0]} else f" ({task.name})"
    what = f"task {task.id} of schedule {task.schedule}" if task.schedule else f"task {task.id}{name}"
    return f"{what} {_end(task)}"


def described_by_schedule(task: Task, *, again: bool = False) -> str:
    """Say of a task of a schedule what became of it, by the name of that; whether it succeeded `again`."""
    return f"schedule {task.schedule} {_end(task, again=again)} (task {task.id})"


def took(seconds: float) -> str:
    """Return how long a task took, for people; of a short one, tenths of a second."""
    return f"{max(0.1, seconds):.1f}s" if seconds < _SHORT_S else span(seconds)


def _end(task: Task, *, again: bool = False) -> str:
    once_more = " again" if again else ""
    after = "" if task.took_s is None else f" after {took(task.took_s)}"
    why = "" if task.state == "succeeded" else f": {task.ending}"
    state = "ended" if task.state == "cancelled" else task.state  # that it was cancelled, its ending says
    return f"{state}{once_more}{after}{why}"


def told(task: Task) -> bool:
    """Return whether the end of a task is an event in any case: of a schedule, only what has changed is one."""
    return task.is_by_hand
