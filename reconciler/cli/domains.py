"""Show the domains of every app, and how each is answered.

Shows each name with its app, state, certificate and days left, and what is wrong. With --check, tries one name step by
step: its addresses, the proxy's ports, the certificate and the first answer; the first step that fails is explained.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from reconciler.cli.failure import Failure
from reconciler.cli.options import examples, json_option, open_snapshot, paths_in_use, state_option
from reconciler.cli.table import show, show_json
from reconciler.inspection.printable import plain

COLUMNS = ("DOMAIN", "APP", "STATE", "CERTIFICATE", "EXPIRES", "MESSAGE")


@click.command(
    help=__doc__,
    epilog=examples(
        "reconciler domains",
        "reconciler domains --check shop.example.com",
        "reconciler domains --json",
    ),
)
@click.option("--check", "name", metavar="NAME", help="Try one name step by step, and explain the first that fails.")
@json_option
@state_option
def command(name: str | None, as_json: bool, state: Path | None) -> None:
    paths = paths_in_use(state)
    with open_snapshot(paths) as snapshot:
        rows = snapshot.domains
    if name is not None:
        _check(paths.proxy_wanted, rows, name, as_json=as_json)
    elif as_json:
        show_json(rows)
    elif rows:
        show(COLUMNS, [domain_cells(row) for row in rows])
    else:
        click.echo(
            "no domain is served: an app needs 'domains: [shop.example.com]' in its manifest, and the host a 'proxy' in"
            " its settings"
        )


def domain_cells(row: Mapping[str, Any]) -> list[str]:
    """Return the cells of a domain."""
    from reconciler.inspection.domains import expires_in

    below = row["below"] if row["below"] != "/" else ""
    message = f"leads to {row['leads_to']}" if row["leads_to"] and not row["message"] else row["message"]
    left = "-" if row["ends_at"] is None else expires_in(row["ends_at"])
    cells = [plain(each or "-") for each in (row["name"] + below, row["app"], row["state"], row["issuer"], left)]
    return [*cells, plain(message or "")]


def _check(wanted: Path, rows: list[dict[str, Any]], name: str, *, as_json: bool) -> None:
    from reconciler.inspection.domains import steps

    found = steps(wanted, rows, name)
    if as_json:
        show_json([step._asdict() for step in found])
    else:
        for step in found:
            click.echo(plain(f"{step.outcome:<5} {step.what}: {step.found}"))
    if failed := next((step for step in found if step.outcome == "fails"), None):
        raise Failure("domain-fails", f"{name} is not served: {failed.what}: {failed.found}")
