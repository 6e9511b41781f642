"""Run a schedule of an app out of turn.

A task of SCHEDULE starts now, or as soon as its last one has ended; the times of the schedule stay as they are.
'reconciler tasks APP' says what became of it.
"""

from pathlib import Path
from typing import Any

import click

from reconciler.cli.options import examples, json_option, state_option
from reconciler.inspection.printable import json_text, plain


@click.command(help=__doc__, epilog=examples("reconciler trigger shop cleanup", "reconciler trigger shop sync --json"))
@click.argument("app")
@click.argument("schedule")
@json_option
@state_option
def command(app: str, schedule: str, as_json: bool, state: Path | None) -> None:
    from reconciler.cli.daemon_client import asked, paths_of_daemon

    answer: dict[str, Any] = asked(paths_of_daemon(state), do="trigger", app=app, schedule=schedule)
    if as_json:
        click.echo(json_text({"app": app, "schedule": schedule, "task": answer["task"], "error": None}))
        return
    click.echo(plain(answer["done"]))
    click.echo(f"'reconciler logs {app} --which task:{answer['task']} -f' follows it")
