"""`reconciler rotate`."""

from pathlib import Path

import click

from reconciler.cli.daemon_client import ask_daemon
from reconciler.cli.options import examples, state_option


@click.command(epilog=examples("reconciler rotate blog-db", "reconciler rotate blog-db blog"))
@click.argument("service")
@click.argument("app", required=False)
@state_option
def command(service: str, app: str | None, state: Path | None) -> None:
    """Have new credentials made for every app bound to SERVICE, or for APP alone.

    Each app is handed over to an instance with the new ones; the old ones are taken back once nothing works with them.
    """
    ask_daemon(state, do="rotate", service=service, app=app)
