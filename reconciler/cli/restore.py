"""Restore the data of a service from a backup.

All data of SERVICE is replaced with that of BACKUP: a name that 'reconciler backups' lists, or a file that 'reconciler
backup' wrote. The command asks first; --yes answers for a script. The current data is backed up before anything is
replaced. Apps keep running, and see the change.
"""

import asyncio
import sys
import time

import click

from reconciler.cli.options import examples, host_options, json_option
from reconciler.cli.service_access import backup_named, open_service, record_event
from reconciler.cli.table import show_json
from reconciler.inspection.printable import clock
from reconciler.settings.settings import Settings


@click.command(
    help=__doc__,
    epilog=examples("reconciler restore blog-db blog.dump", "reconciler restore blog-db /srv/backups/blog.dump --yes"),
)
@click.argument("service")
@click.argument("backup")
@click.option("--yes", is_flag=True, help="Replace the data without asking.")
@json_option
@host_options
def command(settings: Settings, service: str, backup: str, yes: bool, as_json: bool) -> None:
    from reconciler.services.backup import back_up
    from reconciler.services.backup_files import new_backup
    from reconciler.services.registry import provisioner_of

    with open_service(service, settings) as found:
        file = backup_named(settings, backup, found)
        if not yes:
            if not sys.stdin.isatty():
                raise click.ClickException(
                    f"this replaces all data of {service}: add --yes to do so without a question"
                )
            written = clock(file.stat().st_mtime)
            click.confirm(f"Replace all data of {service} with {file}, written {written}?", abort=True, err=as_json)
        now = time.time()  # noqa: TID251  it is in the name of the file
        before = new_backup(settings.paths.backups, found.record, now, "restore")
        asyncio.run(back_up(found.record.type, found.spec, before))
        asyncio.run(provisioner_of(found.record.type).restore(found.spec, file))
    record_event(settings.paths, service, "backup", f"restored from {file}; the data before is in {before}")
    if as_json:
        show_json({"service": service, "restored_from": str(file), "data_before": str(before)})
        return
    click.echo(f"restored {service} from {file}; the data before is in {before}")
