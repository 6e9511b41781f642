"""List tasks: what ran, what runs, and how it ended.

Newest first: the commands that operators asked for, those of schedules, release commands, and shells that were opened,
of APP or of every app. What runs now stands first. Needs no daemon.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import examples, json_option, open_snapshot, paths_in_use, state_option
from reconciler.cli.table import lines, show_json
from reconciler.inspection.printable import ago, megabytes, plain

if TYPE_CHECKING:
    from reconciler.planning.tasks.task import Task

_COLUMNS = ("TASK", "APP", "KIND", "NAME", "STARTED", "TOOK", "EXIT", "MEMORY", "BY", "REVISION", "RESULT")
_SPARE = ("MEMORY", "REVISION", "BY", "KIND", "TOOK")


@click.command(
    help=__doc__,
    epilog=examples("reconciler tasks", "reconciler tasks shop -n 50", "reconciler tasks shop --json"),
)
@click.argument("app", required=False)
@click.option("-n", "--number", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many.")
@click.option("--schedule", help="Only those of the schedule of this name.")
@json_option
@state_option
def command(app: str | None, number: int, schedule: str | None, as_json: bool, state: Path | None) -> None:
    from reconciler.inspection.tasks import facts

    with open_snapshot(paths_in_use(state)) as snapshot:
        found = snapshot.records.task_log.newest(app, number, schedule=schedule)
    if as_json:
        show_json({"tasks": [facts(task) for task in found]})
        return
    found.sort(key=lambda task: not task.is_open)
    if found:
        click.echo("\n".join(lines(_COLUMNS, [_cells(task) for task in found], None, _SPARE)))
    else:
        click.echo(f"{f'{plain(app)} has run no task' if app else 'no task has run'} yet")


def _cells(task: "Task") -> list[str]:
    now = time.time()  # noqa: TID251  shown to people
    began = task.started_at if task.started_at is not None else task.owed_at
    took_s = now - began if task.state == "running" else task.took_s
    cells = (
        task.id,
        task.app,
        task.kind,
        task.name,
        f"{ago(now - began)} ago",
        "-" if took_s is None else ago(took_s),
        "-" if task.exit_status is None else task.exit_status,
        "-" if task.peak_memory is None else megabytes(task.peak_memory),
        task.asked_by or "-",
        task.revision or "-",
        _result(task),
    )
    return [plain(cell) for cell in cells]


def _result(task: "Task") -> str:
    if task.state == "owed":
        return "waits until it can start"
    if task.state == "cancelled":
        return task.ending  # which says so
    return task.state if task.state in {"running", "succeeded"} else f"{task.state}: {task.ending}"
