"""`reconciler restart`."""

from pathlib import Path

import click

from reconciler.cli.daemon_client import ask_daemon
from reconciler.cli.options import examples, state_option


@click.command(epilog=examples("reconciler restart blog"))
@click.argument("app")
@state_option
def command(app: str, state: Path | None) -> None:
    """Start APP anew: the running instance serves until the new one does."""
    ask_daemon(state, do="restart", app=app)
