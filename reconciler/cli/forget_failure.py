"""`reconciler forget-failure`."""

from pathlib import Path

import click

from reconciler.cli.asking import ask_daemon
from reconciler.cli.options import state_option


@click.command()
@click.argument("app")
@state_option
def command(app: str, state: Path | None) -> None:
    r"""Forget how APP failed, and try at once.

    \b
    Example:
      reconciler forget-failure blog
    """
    ask_daemon(state, do="forget-failure", app=app)
