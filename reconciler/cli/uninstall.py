"""`reconciler uninstall`: the service's files taken away; data and apps stay."""

from pathlib import Path

import click

from reconciler.cli.install import service_of, service_options, tell
from reconciler.cli.options import examples


@click.command(epilog=examples("systemctl disable --now reconciler && reconciler uninstall"))
@service_options
def command(  # noqa: PLR0913, PLR0917  one for each option
    user: str, manifests: Path, state: Path, root: Path, dry_run: bool, force: bool
) -> None:
    """Remove the unit and the settings unless somebody edited them. Apps that run go on, and no data is removed."""
    tell(service_of(user, manifests, state, root).uninstall(force=force, dry=dry_run))
    click.echo(f"kept: manifests in {manifests}, apps and their data in {state}")
    if not dry_run:
        click.echo("next: systemctl daemon-reload")
