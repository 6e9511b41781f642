"""Remove the systemd service; apps and data stay.

Removes the units and the settings, except files that were edited since 'reconciler install' wrote them. Apps keep
running; 'reconciler down' stops them.
"""

from dataclasses import replace
from pathlib import Path

import click

from reconciler.cli.install import print_each, service_of, service_options, show_steps
from reconciler.cli.options import examples


@click.command(help=__doc__, epilog=examples("systemctl disable --now reconciler && reconciler uninstall"))
@service_options
def command(  # noqa: PLR0913, PLR0917  one for each option
    user: str, manifests: Path, state: Path, root: Path, dry_run: bool, force: bool, as_json: bool
) -> None:
    service = service_of(user, manifests, state, root)
    steps = replace(service, app_users=service.has_warden()).uninstall(force=force, dry=dry_run)
    following = "" if dry_run else "systemctl daemon-reload"
    if as_json:
        show_steps(steps, following)
        return
    print_each(steps)
    click.echo(f"kept: the manifests in {manifests}, the apps and their data in {state}")
    if following:
        click.echo(f"next: {following}")
