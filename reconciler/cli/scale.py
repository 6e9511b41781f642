"""Set the number of workers of an app.

Writes 'workers' to the manifest of APP, and leaves everything else in it as it is. WORKERS is a number, or auto: two
per core plus one, at most 16. A running instance is scaled in place; nothing restarts.
"""

import re

import click

from reconciler.cli.manifest_changes import change, report
from reconciler.cli.options import examples, host_options, json_option
from reconciler.settings.settings import Settings

_FIELD = ("workers",)


class _Workers(click.ParamType[int | str]):
    """A number of workers, or auto."""

    name = "workers"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value != "auto" and re.fullmatch("[0-9]{1,9}", str(value)) is None:
            self.fail(f"expected a number of workers, or auto, not {value!r}", param, ctx)
        return "auto" if value == "auto" else int(str(value))


@click.command(help=__doc__, epilog=examples("reconciler scale blog 4", "reconciler scale blog auto"))
@click.argument("app")
@click.argument("workers", type=_Workers())
@json_option
@host_options
def command(settings: Settings, app: str, workers: int | str, as_json: bool) -> None:
    from reconciler.documents.in_place import Plain

    if workers == 0:
        raise click.ClickException(
            f"an app has at least one worker: 'reconciler stop {app}' stops it until its next edit,"
            f" 'reconciler maintenance {app} on' shows its holding page"
        )
    changed = change(settings, app, [_FIELD], lambda _, edits: edits.set(_FIELD, Plain(workers)))
    report(settings, changed, as_json=as_json, nothing=f"{changed.file} asks for that already: workers: {workers}")
