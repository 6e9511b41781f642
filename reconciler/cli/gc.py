"""Remove environments that are no longer used.

Removes the environments that no build refers to and whose retention is over, as the daemon does every hour. Safe while
the daemon is running: environments that are being created or used stay.
"""

import os
import subprocess
from dataclasses import replace

import click

from reconciler.cli.options import DURATION, examples, json_option, paths_to_change, with_settings
from reconciler.cli.table import show_json
from reconciler.settings.settings import Settings


@click.command(help=__doc__, epilog=examples("reconciler gc", "reconciler gc --older-than 0s --cache"))
@click.option(
    "--older-than", type=DURATION, help="Keep anything used within this time.  [default: the host's retention, 7d]"
)
@click.option("--cache", is_flag=True, help="Also remove entries of uv's cache that can no longer be used.")
@json_option
@with_settings()
def command(settings: Settings, older_than: float | None, cache: bool, as_json: bool) -> None:
    import uv

    from reconciler.host.staging_settings import collect, stager_of

    paths_to_change(settings.paths.state)
    if older_than is not None:
        settings = replace(settings, retention_s=older_than)
    removed = collect(settings, stager_of(settings))
    if cache:
        prune = [os.fsdecode(uv.find_uv_bin()), "cache", "prune", "--quiet", "--cache-dir"]
        subprocess.run([*prune, str(settings.paths.cache / "uv")], check=False)
    if as_json:
        show_json({"environments": list(removed)})
    elif removed:
        click.echo("\n".join(f"removed environment {key}" for key in removed))
    else:
        click.echo("nothing to remove")
