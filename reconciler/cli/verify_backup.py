"""Verify that a backup can be restored.

Restores BACKUP apart from the data of SERVICE, counts the tables and rows or the keys there, and removes them again.
The outcome is listed by 'reconciler backups'. BACKUP is a name that it lists, or a file; the default is the newest.
PostgreSQL, MariaDB and MySQL restore into a database of its own, SQLite into a file; a Redis server restores key after
key. Exit code 1: the backup cannot be restored.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import click

from reconciler.cli.failure import Failure
from reconciler.cli.options import examples, host_options, json_option
from reconciler.cli.service_access import backup_named, open_service, record_event
from reconciler.cli.table import show_json
from reconciler.inspection.printable import plain
from reconciler.planning.wording import counted
from reconciler.settings.settings import Settings


@click.command(
    help=__doc__,
    epilog=examples("reconciler verify-backup blog-db", "reconciler verify-backup blog-db /srv/backups/blog.dump"),
)
@click.argument("service")
@click.argument("backup", required=False)
@json_option
@host_options
def command(settings: Settings, service: str, backup: str | None, as_json: bool) -> None:
    from reconciler.services.backup_files import backups_in
    from reconciler.services.backup_verification import verify_backup

    with open_service(service, settings) as found:
        if backup is not None:
            file = backup_named(settings, backup, found)
        else:
            kept = backups_in(settings.paths.backups, found.record.id)
            if not kept:
                raise Failure("not-found", f"{service} has no backup: 'reconciler backup {service}' makes one")
            file = kept[0].path
        outcome = asyncio.run(verify_backup(found.spec, file, settings.paths.backups))
    record_event(settings.paths, service, "backup", _told(file, outcome.counted, outcome.failure))
    if as_json:
        facts = {"path": str(file), "at": outcome.at, "counted": dict(outcome.counted)}
        show_json({"service": service, **facts, "failure": outcome.failure or None})
    elif not outcome.failure:
        click.echo(_told(file, outcome.counted, ""))
    if outcome.failure:
        raise click.ClickException(plain(_told(file, {}, outcome.failure)))


def _told(file: Path, numbers: Mapping[str, int], failure: str) -> str:
    if failure:
        return f"{file} cannot be restored: {failure}"
    held = " and ".join(counted(number, what.removesuffix("s")) for what, number in numbers.items())
    return f"{file} can be restored: it has {held}"
