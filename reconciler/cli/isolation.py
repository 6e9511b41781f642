"""Show what keeps each running app apart from the others.

Shows for each instance of each APP, a name or a pattern such as 'shop-*', or of every app, the user that it runs as;
whether it has a cell, so that all it started ends with it; its isolation as it proved it from inside when it started,
with a letter for each part that it lacks; and each of its limits, what holds it, and how much is used; where it may
connect, if its manifest has a list; and what holds the builds of isolated apps. Needs no daemon.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import (
    all_option,
    examples,
    json_option,
    open_snapshot,
    paths_in_use,
    refuse_both,
    state_option,
)
from reconciler.cli.table import show, show_json
from reconciler.inspection.printable import plain

if TYPE_CHECKING:
    from reconciler.inspection.isolation import Confined

_OF_BUILDS = (
    "what builds isolated apps is held by files, processes and syscalls, has a user of its own where the daemon is"
    " root, and connects"
)
_BUILDS_FREE = f"{_OF_BUILDS} wherever this host can; their release commands are held as they are"
_BUILDS_HELD = (
    f"{_OF_BUILDS} to other hosts, and with 'isolation: strict' to nothing of this host and no metadata of a cloud"
    " that the manifest does not name; their release commands are held as they are"
)
_COLUMNS = ("APP", "INSTANCE", "PID", "USER", "CELL", "ISOLATION", "LIMIT", "ASKED", "USED", "HELD BY")


@click.command(
    help=__doc__,
    epilog=examples("reconciler isolation", "reconciler isolation shop", "reconciler isolation 'shop-*' --json"),
)
@click.argument("apps", metavar="[APP]...", nargs=-1)
@all_option("Every app; the same as no name.")
@json_option
@state_option
def command(apps: Sequence[str], everything: bool, as_json: bool, state: Path | None) -> None:
    from reconciler.cli.app_names import shown_apps
    from reconciler.inspection.isolation import confined
    from reconciler.inspection.status import names_of

    refuse_both(apps, everything=everything)
    with open_snapshot(paths_in_use(state)) as snapshot:
        chosen = shown_apps(names_of(snapshot), apps)
        found = confined(snapshot, chosen)
        rules = snapshot.paths.network_rules.exists()
    if as_json:
        show_json({"instances": [asdict(each) for each in found]})
    elif found:
        show(_COLUMNS, [row for each in found for row in _rows(each)])
        for each in (each for each in found if each.lacks):
            click.echo(plain(f"{each.app} {each.process or each.id}: {each.lacks}"))
        for app, places in {each.app: each.connects for each in found if each.connects}.items():
            click.echo(plain(f"{app}: its manifest lets it connect to {', '.join(places)}"))
        if any(each.isolation != "none" for each in found):
            click.echo(_BUILDS_HELD if rules else _BUILDS_FREE)
    else:
        click.echo("no instance is running")


def _rows(each: "Confined") -> Iterator[list[str]]:
    from reconciler.inspection.users import name_of

    who = [each.app, each.process or each.id, str(each.pid), name_of(each.user), "yes" if each.cell else "no"]
    who.append(f"{each.isolation}, without {each.letters}" if each.letters else each.isolation)
    limits = [[limit.limit, limit.asked, limit.used or "-", limit.held] for limit in each.limits]
    for cells in limits or [["-", "-", "-", "-"]]:
        yield [plain(cell) for cell in (*who, *cells)]
