"""`reconciler events`: the journal, newest last."""

import time
from pathlib import Path

import click

from reconciler.cli.options import json_option, layout_in_use, state_option
from reconciler.cli.table import plain

_POLL_S = 0.5


@click.command()
@click.argument("app", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on printing what happens.")
@click.option("-n", "--lines", default=50, show_default=True, help="How many of the newest to print first.")
@json_option
@state_option
def command(app: str | None, follow: bool, lines: int, as_json: bool, state: Path | None) -> None:
    """What happened to APP, or to every app: deploys, crashes, failures, with their causes.

    \b
    Examples:
      reconciler events blog
      reconciler events -f --json
    """
    from reconciler.journal import Journal  # noqa: PLC0415  start-up time
    from reconciler.records import open_database  # noqa: PLC0415

    journal = Journal(open_database(layout_in_use(state).database, read_only=True))
    last, count = 0, lines
    while True:
        for event in journal.newest(app, count, last):
            _print(event, as_json)
            last = event.id
        if not follow:
            return
        count = 10_000
        time.sleep(_POLL_S)


def _print(event: object, as_json: bool) -> None:
    from reconciler.journal import Event, as_line, as_record  # noqa: PLC0415

    assert isinstance(event, Event)
    import json  # noqa: PLC0415

    click.echo(json.dumps(as_record(event)) if as_json else plain(as_line(event)))
