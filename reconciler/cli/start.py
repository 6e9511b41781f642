"""`reconciler start`."""

from pathlib import Path

import click

from reconciler.cli.asking import ask_daemon
from reconciler.cli.options import state_option


@click.command()
@click.argument("app")
@state_option
def command(app: str, state: Path | None) -> None:
    r"""Take back a `stop` or a `rollback`: APP is as its manifest asks again.

    \b
    Example:
      reconciler start blog
    """
    ask_daemon(state, do="start", app=app)
