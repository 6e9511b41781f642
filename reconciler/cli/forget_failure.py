"""`reconciler forget-failure`."""

from pathlib import Path

import click

from reconciler.cli.daemon_client import ask_daemon
from reconciler.cli.options import examples, state_option


@click.command(epilog=examples("reconciler forget-failure blog"))
@click.argument("app")
@state_option
def command(app: str, state: Path | None) -> None:
    """Forget how APP failed, and try at once."""
    ask_daemon(state, do="forget-failure", app=app)
