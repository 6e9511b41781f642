"""`reconciler restore`: put back what a backup holds."""

import asyncio
from pathlib import Path

import click

from reconciler.cli.options import examples, host_options
from reconciler.cli.service_access import open_service, record_event
from reconciler.settings.settings import Settings


@click.command(epilog=examples("reconciler restore blog-db blog.dump"))
@click.argument("service")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@host_options
def command(settings: Settings, service: str, file: Path) -> None:
    """Replace all that SERVICE holds by what FILE, written by `reconciler backup`, holds.

    What it holds now is backed up first. Apps go on running and see the change.
    """
    from reconciler.cli.backup import _new
    from reconciler.services.backup import back_up
    from reconciler.services.registry import provisioner_of

    with open_service(service, settings) as found:
        before = _new(settings, service, found.record.id, found.record.type)
        asyncio.run(back_up(found.record.type, found.where, before))
        asyncio.run(provisioner_of(found.record.type).restore(found.where, file.absolute()))
    record_event(
        settings.paths, service, "backup", f"restored from {file.absolute()}; what it held before is in {before}"
    )
    click.echo(f"{service} holds what {file} does; what it held before is in {before}")
