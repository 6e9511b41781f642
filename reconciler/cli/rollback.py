"""Roll an app back to an earlier revision.

APP goes back to its previous known good revision, or to REVISION, until its manifest or its source changes, or until
'reconciler start APP'. The beginning of a revision's id is enough if no other one begins so; 'reconciler releases APP'
lists the revisions.
"""

from pathlib import Path

import click

from reconciler.cli.daemon_client import request
from reconciler.cli.options import examples, json_option, state_option


@click.command(help=__doc__, epilog=examples("reconciler rollback blog", "reconciler rollback blog 1a2b3c"))
@click.argument("app")
@click.argument("revision", required=False)
@json_option
@state_option
def command(app: str, revision: str | None, as_json: bool, state: Path | None) -> None:
    request(state, as_json=as_json, do="rollback", app=app, revision=revision)
