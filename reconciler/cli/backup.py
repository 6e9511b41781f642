"""`reconciler backup`: all that a service holds, in a file."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import click

from reconciler.cli.options import examples, host_options
from reconciler.cli.service_access import open_service, record_event
from reconciler.settings.settings import Settings


@click.command(epilog=examples("reconciler backup blog-db", "reconciler backup blog-db /srv/backups/blog.dump"))
@click.argument("service")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@host_options
def command(settings: Settings, service: str, file: Path | None) -> None:
    """Write all that SERVICE holds to FILE, or to a new one in the state directory's backups, while apps go on.

    FILE must not exist. Types sqlite, postgresql and mysql can be backed up, with their servers' own tools.
    """
    from reconciler.services.backup import back_up

    with open_service(service, settings) as found:
        place = file.absolute() if file is not None else _new(settings, service, found.record.id, found.record.type)
        if place.exists():
            raise click.ClickException(f"{place} exists: name another file")
        asyncio.run(back_up(found.record.type, found.where, place))
    record_event(settings.paths, service, "backup", f"all it holds is in {place}")
    click.echo(f"all that {service} holds is in {place}")


def _new(settings: Settings, name: str, service: str, of_type: str) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return settings.paths.backups / f"{name}-{service}-{stamp}.{of_type}"
