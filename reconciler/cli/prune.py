"""Confirm that manifests are gone.

When something else is in the place of the manifests, such as an empty directory because a file system is not mounted,
the daemon changes nothing and waits. This command says that the directory is right as it is: apps whose manifest is
missing are removed after 'prune_after'.
"""

from pathlib import Path

import click

from reconciler.cli.daemon_client import request
from reconciler.cli.options import examples, json_option, state_option


@click.command(help=__doc__, epilog=examples("reconciler prune"))
@json_option
@state_option
def command(as_json: bool, state: Path | None) -> None:
    request(state, as_json=as_json, do="prune")
