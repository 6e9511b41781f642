"""Words about tasks, for events and answers. What stands in a command as a secret is masked."""

from shlex import join

from reconciler.planning.tasks.task import Task
from reconciler.planning.wording import span
from reconciler.vault.command_lines import redacted_command

_MOST_SHOWN = 200


def command_line(task: Task) -> str:
    """Return the command of a task as an operator would write it, shortened, its secrets masked."""
    line = redacted_command(task.words[2] if task.words[:2] == ("/bin/sh", "-c") else join(task.words))
    return line if len(line) <= _MOST_SHOWN else f"{line[: _MOST_SHOWN - 1]}…"


def described(task: Task) -> str:
    """Say of a task what became of it."""
    name = "" if task.name in {"", task.words[0]} else f" ({task.name})"
    after = "" if task.took_s is None else f" after {span(task.took_s)}"
    return f"task {task.id}{name} {task.state}{after}: {task.ending}"


def told(task: Task) -> bool:
    """Return whether the end of a task is an event in any case: of a schedule, only what has changed is one."""
    return task.is_by_hand
