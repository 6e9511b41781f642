"""`reconciler restart`."""

from pathlib import Path

import click

from reconciler.cli.asking import ask_daemon
from reconciler.cli.options import state_option


@click.command()
@click.argument("app")
@state_option
def command(app: str, state: Path | None) -> None:
    r"""Start APP anew: the running instance serves until the new one does.

    \b
    Example:
      reconciler restart blog
    """
    ask_daemon(state, do="restart", app=app)
