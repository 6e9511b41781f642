"""`reconciler start`."""

from pathlib import Path

import click

from reconciler.cli.daemon_client import ask_daemon
from reconciler.cli.options import examples, state_option


@click.command(epilog=examples("reconciler start blog"))
@click.argument("app")
@state_option
def command(app: str, state: Path | None) -> None:
    """Take back a `stop` or a `rollback`: APP is as its manifest asks again."""
    ask_daemon(state, do="start", app=app)
