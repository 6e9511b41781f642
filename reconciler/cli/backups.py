"""List the backups of services.

Shows when each was made, what made it, its size, when it was last verified, and its path. The newest of each service
comes first. Those that a schedule made are removed once there are more than 'keep' of its manifest.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.failure import Failure
from reconciler.cli.options import examples, json_option, open_snapshot, paths_in_use, state_option
from reconciler.cli.table import show, show_json
from reconciler.inspection.printable import ago, clock, plain, sized

if TYPE_CHECKING:
    from reconciler.inspection.backups import BackupRow
    from reconciler.services.backup_files import Verification

_COLUMNS = ("SERVICE", "MADE", "BY", "SIZE", "VERIFIED", "PATH")


@click.command(
    help=__doc__,
    epilog=examples("reconciler backups", "reconciler backups blog-db", "reconciler backups blog-db --json"),
)
@click.argument("service", required=False)
@json_option
@state_option
def command(service: str | None, as_json: bool, state: Path | None) -> None:
    from reconciler.inspection.backups import backups

    with open_snapshot(paths_in_use(state)) as snapshot:
        found = backups(snapshot, service)
        known = service is None or bool(found) or service in snapshot.records.service_statuses()
    if not known:
        raise Failure("not-found", f"no service named '{plain(service)}' exists here: see 'reconciler services'")
    if as_json:
        show_json([row.facts() for row in found])
    elif found:
        show(_COLUMNS, [_cells(row) for row in found])
    else:
        click.echo("no backups")


def _cells(backup: "BackupRow") -> list[str]:
    verified = _verified(backup.verification)
    return [backup.service, clock(backup.at), backup.made_by, sized(backup.size), verified, backup.path]


def _verified(verification: "Verification | None") -> str:
    if verification is None:
        return "-"
    if verification.failure:
        return "failed"
    now = time.time()  # noqa: TID251  it is compared with a time of another process
    return f"{ago(max(0.0, now - verification.at))} ago"
