"""`reconciler rollback`."""

from pathlib import Path

import click

from reconciler.cli.daemon_client import ask_daemon
from reconciler.cli.options import examples, state_option


@click.command(epilog=examples("reconciler rollback blog", "reconciler rollback blog 1a2b3c"))
@click.argument("app")
@click.argument("revision", required=False)
@state_option
def command(app: str, revision: str | None, state: Path | None) -> None:
    """Go back to the last revision of APP that got through its probation, or to REVISION.

    It holds until the manifest or the source changes, or until `reconciler start`.
    """
    ask_daemon(state, do="rollback", app=app, revision=revision)
