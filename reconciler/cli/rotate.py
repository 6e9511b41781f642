"""Give apps new credentials for a service.

Every app bound to SERVICE, or APP alone, gets new credentials. Each app is handed over to an instance that uses them;
the old ones are revoked once no instance uses them.
"""

from pathlib import Path

import click

from reconciler.cli.daemon_client import request
from reconciler.cli.options import examples, json_option, state_option


@click.command(help=__doc__, epilog=examples("reconciler rotate blog-db", "reconciler rotate blog-db blog"))
@click.argument("service")
@click.argument("app", required=False)
@json_option
@state_option
def command(service: str, app: str | None, as_json: bool, state: Path | None) -> None:
    request(state, as_json=as_json, do="rotate", service=service, app=app)
