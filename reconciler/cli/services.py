"""Show the backing services.

Shows type, plan, server, bound apps, size and state of every service. A retained service is listed, too: its manifest
was removed, and its data is kept.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import examples, json_option, open_snapshot, paths_in_use, state_option
from reconciler.cli.status import with_retry
from reconciler.cli.table import show, show_json
from reconciler.inspection.printable import plain, sized

if TYPE_CHECKING:
    from reconciler.inspection.status import ServiceRow

_COLUMNS = ("SERVICE", "TYPE", "PLAN", "SERVER", "APPS", "SIZE", "STATE", "MESSAGE")


@click.command(help=__doc__, epilog=examples("reconciler services", "reconciler services --json"))
@json_option
@state_option
def command(as_json: bool, state: Path | None) -> None:
    from reconciler.inspection.status import status

    with open_snapshot(paths_in_use(state)) as snapshot:
        rows = status(snapshot).services
    if as_json:
        show_json([row.facts() for row in rows])
    elif rows:
        show(_COLUMNS, [_cells(row) for row in rows])
    else:
        click.echo("no services")


def _cells(service: "ServiceRow") -> list[str]:
    apps = ", ".join(service.apps)
    size = None if service.size is None else sized(service.size)
    cells = [service.name, service.type, service.plan, service.server, apps, size, service.state]
    return [*(plain(cell or "-") for cell in cells), plain(with_retry(service.message, service.next_try_at))]
