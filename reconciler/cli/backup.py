"""Back up the data of a service to a file.

FILE must not exist yet; without it, a new file in the backups folder of the state directory is used. Apps keep running
meanwhile. Services of type sqlite, postgresql, mysql and redis can be backed up, with their servers' own tools.
"""

import asyncio
import time
from pathlib import Path

import click

from reconciler.cli.options import examples, host_options, json_option
from reconciler.cli.service_access import open_service, record_event
from reconciler.cli.table import show_json
from reconciler.settings.settings import Settings


@click.command(
    help=__doc__, epilog=examples("reconciler backup blog-db", "reconciler backup blog-db /srv/backups/blog.dump")
)
@click.argument("service")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@json_option
@host_options
def command(settings: Settings, service: str, file: Path | None, as_json: bool) -> None:
    from reconciler.services.backup import back_up
    from reconciler.services.backup_files import new_backup

    with open_service(service, settings) as found:
        now = time.time()  # noqa: TID251  it is in the name of the file
        path = (
            file.absolute() if file is not None else new_backup(settings.paths.backups, found.record, now, "operator")
        )
        if path.exists():
            raise click.ClickException(f"{path} already exists: name another file")
        asyncio.run(back_up(found.record.type, found.spec, path))
    record_event(settings.paths, service, "backup", f"backed up to {path}")
    if as_json:
        show_json({"service": service, "file": str(path), "size": path.stat().st_size})
    else:
        click.echo(f"backed up {service} to {path}")
