"""Confirm that manifests are gone.

When something else is in the place of the manifests, such as an empty directory because a file system is not mounted,
the daemon changes nothing and waits. This command says that the directory is right as it is: apps whose manifest is
missing are removed after 'prune_after'.
"""

from pathlib import Path

import click

from reconciler.cli.daemon_client import request
from reconciler.cli.options import examples, state_option


@click.command(help=__doc__, epilog=examples("reconciler prune"))
@state_option
def command(state: Path | None) -> None:
    request(state, do="prune")
