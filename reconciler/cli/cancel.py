"""End a task.

TASK is told to end by SIGTERM, and all that it has started is killed if that has not helped after 8 s; one that is not
started yet never is. The beginning of a task's id is enough if no other one begins so; 'reconciler tasks' lists them.
"""

from pathlib import Path

import click

from reconciler.cli.daemon_client import request
from reconciler.cli.options import examples, json_option, state_option


@click.command(help=__doc__, epilog=examples("reconciler cancel 8f3a", "reconciler cancel 8f3a21c0 --json"))
@click.argument("task")
@json_option
@state_option
def command(task: str, as_json: bool, state: Path | None) -> None:
    request(state, as_json=as_json, do="cancel", task=task)
