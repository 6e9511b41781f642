"""`reconciler stop`."""

from pathlib import Path

import click

from reconciler.cli.asking import ask_daemon
from reconciler.cli.options import state_option


@click.command()
@click.argument("app")
@state_option
def command(app: str, state: Path | None) -> None:
    r"""Stop APP and close its port, until its manifest changes or `start`.

    \b
    Example:
      reconciler stop blog
    """
    ask_daemon(state, do="stop", app=app)
