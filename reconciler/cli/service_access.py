"""Open one service for a command, whether a daemon is running or not."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.failure import Failure
from reconciler.cli.options import open_snapshot, paths_to_change
from reconciler.inspection.printable import plain
from reconciler.linux.dataclass import dataclass
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths

if TYPE_CHECKING:
    from reconciler.services.provisioner import ServiceSpec
    from reconciler.services.records import ServiceRecord, ServiceRecords
    from reconciler.state.journal import EventKind


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenService:
    """A recorded service, with its specification."""

    record: "ServiceRecord"
    spec: "ServiceSpec"
    service_records: "ServiceRecords"


@contextlib.contextmanager
def open_service(name: str, settings: Settings) -> Iterator[OpenService]:
    """Open a service by its name. Raises ClickException for a service that does not exist, and for its failures."""
    from reconciler.services.provisioner import ServiceError
    from reconciler.services.server_choice import spec_of
    from reconciler.vault.vault import VaultLocked

    with open_snapshot(paths_to_change(settings.paths.state)) as snapshot:
        snapshot.key_file = settings.key
        record = snapshot.service_records.made(name)
        if record is None:
            raise Failure("not-found", f"no service named '{plain(name)}' exists here: see 'reconciler services'")
        try:
            spec = spec_of(record, snapshot.service_records.asked(record.id), settings)
            yield OpenService(record=record, spec=spec, service_records=snapshot.service_records)
        except (ServiceError, VaultLocked) as error:
            raise click.ClickException(plain(error)) from error


def backup_named(settings: Settings, backup: str, service: OpenService) -> Path:
    """Return the file of a backup, by a name that `backups` lists or a path. Raises ClickException."""
    from reconciler.services.backup_files import backups_in

    listed = {each.path.name: each for each in backups_in(settings.paths.backups)}
    if (found := listed.get(backup)) is not None:
        if found.type != service.record.type:
            raise click.ClickException(f"{backup} is of type {found.type}, and the service of {service.record.type}")
        return found.path
    file = Path(backup).absolute()
    if not file.is_file():
        raise Failure("not-found", f"no backup or file is named '{plain(backup)}': see 'reconciler backups'")
    return file


def record_event(paths: StatePaths, name: str, kind: "EventKind", text: str) -> None:
    """Record an event of a service, unless the journal cannot be written."""
    from reconciler.planning.subject import Subject
    from reconciler.state.journal import Journal
    from reconciler.state.schema import OtherVersion, open_database

    with (
        contextlib.suppress(sqlite3.Error, OtherVersion),
        contextlib.closing(open_database(paths.database)) as database,
    ):
        Journal(database).write(Subject("service", name), kind, text, "requested on the command line")
