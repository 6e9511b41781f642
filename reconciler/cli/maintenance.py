"""Show the holding page of an app, or serve it again.

Writes 'state: maintenance' to the manifest of APP: its instance stops, and every request gets its holding page with
status 503. 'off' takes the field out again. An app that its manifest stops is left stopped.
"""

from typing import TYPE_CHECKING

import click

from reconciler.cli.manifest_changes import change, report
from reconciler.cli.options import examples, host_options, json_option
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
    already = "is in maintenance already" if switch == "on" else "is not in maintenance"
    report(settings, changed, as_json=as_json, nothing=f"{app} {already}, by {changed.file}")


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
