"""Show the holding page of an app, or serve it again.

Writes 'state: maintenance' to the manifest of APP: its instance stops, and every request gets its holding page with
status 503. 'off' takes the field out again, and ends a maintenance that was requested on the page. An app that its
manifest stops is left stopped.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from reconciler.cli.daemon_client import outcome_of
from reconciler.cli.manifest_changes import change, report
from reconciler.cli.options import examples, host_options, json_option, open_snapshot
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.manifests.app_edits import AppEdits
    from reconciler.manifests.described import Described

_FIELD = ("state",)


@click.command(help=__doc__, epilog=examples("reconciler maintenance blog on", "reconciler maintenance blog off"))
@click.argument("app")
@click.argument("switch", type=click.Choice(("on", "off")))
@json_option
@host_options
def command(settings: Settings, app: str, switch: str, as_json: bool) -> None:
    changed = change(settings, app, [_FIELD], _begin if switch == "on" else _end)
    nothing = f"{app} is {'in maintenance already' if switch == 'on' else 'not in maintenance'}, by {changed.file}"
    if switch == "off" and not changed.changes and _is_requested(settings, app):
        nothing = outcome_of(settings.paths, "end-maintenance", app)
        changed = replace(changed, notes=(nothing,) if as_json else ())
    report(settings, changed, as_json=as_json, nothing=nothing)


def _is_requested(settings: Settings, app: str) -> bool:
    """Whether an operator has requested the maintenance, which no manifest tells of."""
    from reconciler.inspection.status import status

    if not settings.paths.database.exists():
        return False
    with open_snapshot(settings.paths) as snapshot:
        (row, *_) = status(snapshot, frozenset((app,))).apps or (None,)
    return row is not None and row.override is not None and row.override.kind == "maintenance"


def _begin(found: "Described", edits: "AppEdits") -> None:
    from reconciler.documents.in_place import Text

    given = edits.tree.given(*_FIELD)
    if given is not None and given.value == "stopped":
        raise click.ClickException(
            f"{found.file}:{given.line} stops {found.app}, and 'maintenance off' could not tell that it did: take"
            f" 'state: stopped' out first, with 'reconciler edit {found.app}'"
        )
    edits.set(_FIELD, Text("maintenance"))


def _end(_: "Described", edits: "AppEdits") -> None:
    """Remove the field: without it, an app is running."""
    given = edits.tree.given(*_FIELD)
    if given is not None and given.value == "maintenance":
        edits.remove(_FIELD)
