"""Show what happened, and why.

Prints the events of APP, of a service (service/NAME), or of everything: deploys, crashes, failures and requests, each
with its cause.
"""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import DURATION, examples, json_option, paths_in_use, reading, state_option
from reconciler.inspection.printable import json_text, plain

if TYPE_CHECKING:
    from reconciler.planning.subject import Subject
    from reconciler.state.journal import Event, Journal

_POLL_S = 0.5
_AT_ONCE = 10_000
_EVERYTHING = 2**31


@click.command(
    help=__doc__,
    epilog=examples(
        "reconciler events blog",
        "reconciler events service/blog-db",
        "reconciler events -f --json",
        "reconciler events --since 1h --kind failed",
    ),
)
@click.argument("app", required=False, metavar="[APP | service/NAME]")
@click.option("-f", "--follow", is_flag=True, help="Keep printing new events until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    default=None,
    help="How many of the newest events to print first.  [default: 50, or all with --since]",
)
@click.option("--since", type=DURATION, metavar="AGE", help="Only events newer than this, such as 1h.")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Only events of this kind; may be repeated.")
@json_option
@state_option
def command(  # noqa: PLR0913, PLR0917  one for each option
    app: str | None,
    follow: bool,
    lines: int | None,
    since: float | None,
    kinds: tuple[str, ...],
    as_json: bool,
    state: Path | None,
) -> None:
    from reconciler.state.journal import KINDS, Journal
    from reconciler.state.schema import open_database

    for kind in kinds:
        if kind not in KINDS:
            raise click.UsageError(f"there are no events of kind '{plain(kind)}'; the kinds are: {', '.join(KINDS)}")
    paths = paths_in_use(state)
    with reading(paths), contextlib.closing(open_database(paths.database, read_only=True)) as database:
        journal = Journal(database)
        subject = None if app is None else _subject_of(app)
        if lines is None:
            lines = 50 if since is None else _EVERYTHING
        begin = 0.0 if since is None else time.time() - since  # noqa: TID251  compared with what people are shown
        newest = journal.newest(subject, max(lines, 1), since=begin, kinds=kinds)
        _print(newest[len(newest) - lines :] if lines < len(newest) else newest, as_json)
        if app is not None and not newest and not kinds and since is None:
            click.echo(_none_of(app, subject, journal), err=True)
        if follow:
            with contextlib.suppress(KeyboardInterrupt):
                _follow(journal, subject, newest[-1].id if newest else 0, kinds, as_json)


def _subject_of(name: str) -> "Subject":
    """Return the app of this name, or the service of `service/NAME`."""
    from reconciler.planning.subject import Subject

    kind, _, service = name.partition("/")
    return Subject("service", service) if kind == "service" and service else Subject("app", name)


def _none_of(name: str, subject: "Subject | None", journal: "Journal") -> str:
    """Say that there are no events, and where there may be some."""
    from reconciler.planning.subject import Subject

    if "/" not in name and journal.newest(Subject("service", name), 1):
        return (
            f"there are no events of an app named '{plain(name)}'; for the service: 'reconciler events service/{name}'"
        )
    lists = "services" if subject is not None and subject.kind == "service" else "status"
    return f"there are no events of {plain(subject)}; 'reconciler {lists}' lists the names"


def _follow(journal: "Journal", subject: "Subject | None", last: int, kinds: Sequence[str], as_json: bool) -> None:
    while True:
        time.sleep(_POLL_S)
        newer = journal.newest(subject, _AT_ONCE, last, kinds=kinds)
        _print(newer, as_json)
        last = newer[-1].id if newer else last


def _print(events: "Sequence[Event]", as_json: bool) -> None:
    from reconciler.state.journal import as_line, as_record

    for event in events:
        click.echo(json_text(as_record(event)) if as_json else plain(as_line(event)))
