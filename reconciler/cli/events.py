"""`reconciler events`: the journal, newest last."""

import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import examples, json_option, layout_in_use, reading, state_option
from reconciler.cli.table import plain

if TYPE_CHECKING:
    from reconciler.journal import Event, Journal

_POLL_S = 0.5
_AT_ONCE = 10_000


@click.command(epilog=examples("reconciler events blog", "reconciler events -f --json"))
@click.argument("app", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on printing what happens, until Ctrl-C.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), default=50, show_default=True, help="How many of the newest to print."
)
@json_option
@state_option
def command(app: str | None, follow: bool, lines: int, as_json: bool, state: Path | None) -> None:
    """What happened to APP, or to every app: deploys, crashes, failures, with their causes."""
    from reconciler.journal import Journal
    from reconciler.records import open_database

    layout = layout_in_use(state)
    with reading(layout), contextlib.closing(open_database(layout.database, read_only=True)) as database:
        journal = Journal(database)
        newest = journal.newest(app, max(lines, 1))
        _print(newest[len(newest) - lines :] if lines < len(newest) else newest, as_json)
        if app is not None and not newest:
            click.echo(f"nothing ever happened to an app named '{plain(app)}'", err=True)
        if follow:
            with contextlib.suppress(KeyboardInterrupt):
                _follow(journal, app, newest[-1].id if newest else 0, as_json)


def _follow(journal: "Journal", app: str | None, last: int, as_json: bool) -> None:
    while True:
        time.sleep(_POLL_S)
        newer = journal.newest(app, _AT_ONCE, last)
        _print(newer, as_json)
        last = newer[-1].id if newer else last


def _print(events: "Sequence[Event]", as_json: bool) -> None:
    from reconciler.journal import as_line, as_record

    for event in events:
        click.echo(json.dumps(as_record(event), ensure_ascii=False) if as_json else plain(as_line(event)))
