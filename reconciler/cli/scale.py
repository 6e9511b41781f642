"""Set the number of workers of an app.

Writes 'workers' to the manifest of APP, and leaves everything else in it as it is. WORKERS is a number, or auto: two
per core plus one, at most 16. A running instance is scaled in place; nothing restarts.

With --for, and for an app whose 'workers' is a range, the manifest stays as it is: the daemon gives the app so many
workers for that time, or until 'workers' of the manifest changes. After auto, its manifest applies again.
"""

import re
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import click

from reconciler.cli.daemon_client import outcome_of, request
from reconciler.cli.manifest_changes import change, find, report
from reconciler.cli.options import DURATION, examples, host_options, json_option, open_snapshot
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.manifests.described import Described

_FIELD = ("workers",)


class _Workers(click.ParamType[int | str]):
    """A number of workers, or auto."""

    name = "workers"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value != "auto" and re.fullmatch("[0-9]{1,9}", str(value)) is None:
            self.fail(f"expected a number of workers, or auto, not {value!r}", param, ctx)
        return "auto" if value == "auto" else int(str(value))


@click.command(
    help=__doc__,
    epilog=examples("reconciler scale blog 4", "reconciler scale blog auto", "reconciler scale blog 6 --for 2h"),
)
@click.argument("app")
@click.argument("workers", type=_Workers())
@click.option("--for", "for_s", type=DURATION, help="For this long, such as 2h; the manifest is not changed.")
@json_option
@host_options
def command(settings: Settings, app: str, workers: int | str, for_s: float | None, as_json: bool) -> None:
    from reconciler.documents.in_place import Plain

    if workers == 0:
        raise click.ClickException(
            f"an app has at least one worker: 'reconciler stop {app}' stops it until its next edit,"
            f" 'reconciler maintenance {app} on' shows its holding page"
        )
    if for_s is not None and workers == "auto":
        raise click.UsageError("--for takes a number of workers: after auto, the manifest applies again")
    known = _known(settings, app)
    if for_s is not None or known.is_range or _has_range(find(settings, app)):
        number = None if workers == "auto" else workers
        lasting = {} if for_s is None else {"for": for_s}
        request(settings.paths.state, as_json=as_json, do="scale", app=app, workers=number, **lasting)
        return
    changed = change(settings, app, [_FIELD], lambda _, edits: edits.set(_FIELD, Plain(workers)))
    nothing = f"{changed.file} asks for that already: workers: {workers}"
    if known.is_held:  # the manifest is to apply, whatever it said before
        nothing = outcome_of(settings.paths, "scale", app)
        changed = replace(changed, notes=(nothing,) if changed.changes or as_json else ())
    report(settings, changed, as_json=as_json, nothing=nothing)


class _Known(NamedTuple):
    """Whether a running daemon knows a range of an app's workers, or a number that was asked of it."""

    is_range: bool = False
    is_held: bool = False


def _known(settings: Settings, app: str) -> _Known:
    if not settings.paths.database.exists():
        return _Known()
    with open_snapshot(settings.paths) as snapshot:
        facts = snapshot.desired.get("apps", {}).get(app, {})
        held = snapshot.records.history_of("held_workers").get(app, "null") != "null"
        return _Known(is_range=facts.get("worker_range") is not None, is_held=held and snapshot.daemon is not None)


def _has_range(found: "Described") -> bool:
    node = None if found.tree is None else found.tree.given(*_FIELD)
    return node is not None and isinstance(node.value, dict)
