"""Restore the data of a service from a backup.

All data of SERVICE is replaced by that of FILE, which 'reconciler backup' wrote. The current data is backed up
first. Apps keep running, and see the change.
"""

import asyncio
from pathlib import Path

import click

from reconciler.cli.options import examples, host_options
from reconciler.cli.service_access import open_service, record_event
from reconciler.settings.settings import Settings


@click.command(help=__doc__, epilog=examples("reconciler restore blog-db blog.dump"))
@click.argument("service")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@host_options
def command(settings: Settings, service: str, file: Path) -> None:
    from reconciler.cli.backup import new_file
    from reconciler.services.backup import back_up
    from reconciler.services.registry import provisioner_of

    with open_service(service, settings) as found:
        before = new_file(settings, service, found)
        asyncio.run(back_up(found.record.type, found.spec, before))
        asyncio.run(provisioner_of(found.record.type).restore(found.spec, file.absolute()))
    record_event(settings.paths, service, "backup", f"restored from {file.absolute()}; the data before is in {before}")
    click.echo(f"restored {service} from {file}; the data before is in {before}")
