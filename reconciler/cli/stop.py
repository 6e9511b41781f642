"""`reconciler stop`."""

from pathlib import Path

import click

from reconciler.cli.daemon_client import ask_daemon
from reconciler.cli.options import examples, state_option


@click.command(epilog=examples("reconciler stop blog"))
@click.argument("app")
@state_option
def command(app: str, state: Path | None) -> None:
    """Stop APP and close its port, until its manifest changes or `start`."""
    ask_daemon(state, do="stop", app=app)
