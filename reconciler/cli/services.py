"""`reconciler services`: the backing services, and who is bound to them."""

import time
from pathlib import Path
from typing import Any

import click

from reconciler.cli.options import examples, json_option, open_snapshot, paths_in_use, state_option
from reconciler.cli.table import show, show_json
from reconciler.inspection.printable import ago, plain

_COLUMNS = ("SERVICE", "TYPE", "PLAN", "SERVER", "APPS", "SIZE", "STATE", "MESSAGE")


@click.command(epilog=examples("reconciler services", "reconciler services --json"))
@json_option
@state_option
def command(as_json: bool, state: Path | None) -> None:
    """Every service that is asked for or kept: its type and plan, its server, who is bound to it, and how it stands."""
    with open_snapshot(paths_in_use(state)) as snapshot:
        rows: Any = snapshot.status()["services"]
    if as_json:
        show_json(rows)
    elif rows:
        show(_COLUMNS, [_row(row) for row in rows])
    else:
        click.echo("no services")


def _row(service: dict[str, Any]) -> list[str]:
    message = str(service["message"])
    if service["next_try_at"]:
        wait_s = service["next_try_at"] - time.time()  # noqa: TID251  shown to people, never relied upon
        message += f"; again in {ago(wait_s)}"
    apps = ", ".join(service["apps"])
    size = None if service["size"] is None else sized(service["size"])
    cells = [
        service["name"], service["type"], service["plan"], service["server"], apps, size, service["state"], message,
    ]  # fmt: skip
    return [plain(cell or "-") for cell in cells[:-1]] + [plain(message)]


def sized(size: int) -> str:
    """Bytes as a person reads them: 12K, 3.4M."""
    amount = float(size)
    for unit in ("B", "K", "M"):
        if amount < 1024:
            return f"{amount:.3g}{unit}" if unit != "B" else f"{size}B"
        amount /= 1024
    return f"{amount:.3g}G"
