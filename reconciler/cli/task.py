"""Run a command of an app once.

CMD runs as the revision that serves APP does: with its environment, in its code's directory, with its `python`, but
without its port. This terminal shows what it prints and exits as it does, 128 and the number of a signal if one ended
it. The task goes on when you press Ctrl-C, when the terminal is closed and when the daemon is restarted. Options go
before APP, or before the --.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.failure import Failure
from reconciler.cli.options import DURATION, examples, json_option, reading, state_option
from reconciler.inspection.printable import json_text, plain

if TYPE_CHECKING:
    from reconciler.planning.tasks.task import Task
    from reconciler.state.paths import StatePaths

_WAITING_AFTER_S = 2.0


@click.command(
    help=__doc__,
    context_settings={"allow_interspersed_args": True},
    epilog=examples(
        "reconciler task shop -- python manage.py reindex",
        "reconciler task shop --detach --name reindex --timeout 2h -- python manage.py reindex",
        "reconciler task shop --revision 1a2b3c -- python manage.py check",
    ),
)
@click.argument("app")
@click.argument("cmd", nargs=-1, type=click.UNPROCESSED)
@click.option("-d", "--detach", is_flag=True, help="Return at once; 'reconciler tasks APP' says what became of it.")
@click.option("--name", help="A name for the history.  [default: the first word of CMD]")
@click.option("--timeout", type=DURATION, help="End it after so long.  [default: tasks.timeout of the host, 24h]")
@click.option(
    "--revision", metavar="REVISION", help="Run it in a revision that does not serve, by the beginning of its id."
)
@json_option
@state_option
def command(  # noqa: PLR0913, PLR0917  one for each option
    app: str,
    cmd: tuple[str, ...],
    detach: bool,
    name: str | None,
    timeout: float | None,
    revision: str | None,
    as_json: bool,
    state: Path | None,
) -> None:
    from reconciler.cli.daemon_client import asked, paths_of_daemon

    if not cmd:
        raise click.UsageError("give a command, as in 'reconciler task APP -- python manage.py migrate'")
    if as_json and not detach:
        raise click.UsageError("--json is for --detach: otherwise the output is that of the command")
    paths = paths_of_daemon(state)
    fields: dict[str, Any] = {"name": name, "timeout": timeout, "revision": revision}
    order = {"do": "task", "app": app, "command": list(cmd), **{k: v for k, v in fields.items() if v is not None}}
    if detach:
        answer = asked(paths, **order)
        task = str(answer["task"])
        click.echo(json_text({"app": app, "task": task, "error": None}) if as_json else plain(answer["done"]))
        if not as_json:
            click.echo(f"'reconciler logs {app} --which task:{task} -f' follows it")
        return
    raise SystemExit(_attached(paths, app, order))


def _attached(paths: "StatePaths", app: str, order: dict[str, Any]) -> int:
    """Start a task, show what it prints, and return what to exit with."""
    import contextlib

    from reconciler.cli.daemon_client import asked
    from reconciler.cli.task_terminal import Detached, TaskTerminal, explained

    with contextlib.closing(TaskTerminal(paths)) as terminal:
        task = str(asked(paths, **order, terminal=terminal.name)["task"])
        with explained(app, task):
            waiting = _Waiting(paths, task)
            if terminal.wait(waiting.is_over):
                try:
                    return _exit_code(terminal.result(), task)
                except Detached:
                    pass
            return _of_record(_ended(paths, task), task)


def _exit_code(result: dict[str, Any], task: str) -> int:
    if result.get("error"):
        click.echo(f"reconciler: cannot run {plain(result['error'])}", err=True)
    elif result.get("timed_out"):
        click.echo(f"reconciler: task {task} took longer than it may, and was ended", err=True)
    elif result.get("cancelled"):
        click.echo(f"reconciler: task {task} was cancelled", err=True)
    code, signal = result.get("code"), result.get("signal")
    return 128 + int(signal) if signal is not None else int(code or 0)


def _of_record(found: "Task", task: str) -> int:
    """Return what to exit with after a task of which this terminal has heard nothing, or not the end."""
    if found.is_open:
        raise Failure("no-answer", f"task {task} goes on, and this terminal hears nothing of it any more")
    click.echo(f"reconciler: task {task} {found.state}: {plain(found.ending)}", err=True)
    if found.exit_status is not None:
        return found.exit_status
    if found.started_at is None:
        raise SystemExit(125)
    raise SystemExit(137)  # with its runner


def _ended(paths: "StatePaths", task: str, within_s: float = 10.0) -> "Task":
    """Return a task as it is on record once it has ended, or when the time is over."""
    until = time.monotonic() + within_s
    while (found := _recorded(paths, task)).is_open and time.monotonic() < until:
        time.sleep(0.1)
    return found


def _recorded(paths: "StatePaths", task: str) -> "Task":
    import contextlib

    from reconciler.state.schema import open_database
    from reconciler.state.task_log import TaskLog

    with reading(paths), contextlib.closing(open_database(paths.database, read_only=True)) as database:
        found = TaskLog(database).find(task)
    if not found:
        raise Failure("not-found", f"task {task} is not on record any more")
    return found[0]


class _Waiting:
    """Says once that a task waits, if it does for long."""

    def __init__(self, paths: "StatePaths", task: str) -> None:
        self._paths = paths
        self._task = task
        self._since = time.monotonic()
        self._told = False

    def is_over(self) -> bool:
        found = _recorded(self._paths, self._task)
        if found.state == "owed" and not self._told and time.monotonic() - self._since > _WAITING_AFTER_S:
            self._told = True
            click.echo(f"task {self._task} waits until it can start", err=True)
        return not found.is_open
