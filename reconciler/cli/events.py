"""Show what happened, and why.

Prints the events of each APP, a name, a pattern such as 'shop-*', service/NAME or origin/NAME (an origin in git), or of
everything: deploys, crashes, failures and requests, each with its cause.
"""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import (
    DURATION,
    all_option,
    examples,
    json_option,
    paths_in_use,
    reading,
    refuse_both,
    state_option,
)
from reconciler.cli.table import width, wrapped
from reconciler.inspection.printable import json_text, plain
from reconciler.linux.standard_streams import is_read

if TYPE_CHECKING:
    from reconciler.planning.subject import Subject
    from reconciler.state.journal import Event, Journal
    from reconciler.state.paths import StatePaths

_POLL_S = 0.5
_BELOW_SUBJECT = " " * len("2026-11-28 10:55:36  ")
_LISTS = {"service": "services", "origin": "git"}
_AT_ONCE = 10_000
_EVERYTHING = 2**31


@click.command(
    help=__doc__,
    epilog=examples(
        "reconciler events blog 'shop-*'",
        "reconciler events service/blog-db",
        "reconciler events -f --json",
        "reconciler events --since 1h --kind failed",
    ),
)
@click.argument("apps", metavar="[APP | service/NAME | origin/NAME]...", nargs=-1)
@all_option("Everything; the same as no name.")
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
    apps: Sequence[str],
    everything: bool,
    follow: bool,
    lines: int | None,
    since: float | None,
    kinds: tuple[str, ...],
    as_json: bool,
    state: Path | None,
) -> None:
    from reconciler.state.journal import KINDS, Journal
    from reconciler.state.schema import open_database

    refuse_both(apps, everything=everything)
    for kind in kinds:
        if kind not in KINDS:
            raise click.UsageError(f"there are no events of kind '{plain(kind)}'; the kinds are: {', '.join(KINDS)}")
    paths = paths_in_use(state)
    with reading(paths), contextlib.closing(open_database(paths.database, read_only=True)) as database:
        journal = Journal(database)
        subjects = [_subject_of(word) for word in apps] or None
        if lines is None:
            lines = 50 if since is None else _EVERYTHING
        begin = 0.0 if since is None else time.time() - since  # noqa: TID251  compared with what people are shown
        newest = journal.newest(subjects, max(lines, 1), since=begin, kinds=kinds)
        _print(newest[len(newest) - lines :] if lines < len(newest) else newest, as_json)
        for word in dict.fromkeys(apps) if not kinds and since is None else ():
            if not journal.newest(_subject_of(word), 1):
                click.echo(_none_of(word, journal, paths), err=True)
        if follow:
            with contextlib.suppress(KeyboardInterrupt):
                _follow(journal, subjects, newest[-1].id if newest else 0, kinds, as_json)


def _subject_of(name: str) -> "Subject":
    """Return the app of this name, the service of `service/NAME`, or the origin in git of `origin/NAME`."""
    from reconciler.planning.subject import Subject

    kind, _, inner = name.partition("/")
    if kind == "origin" and inner:
        return Subject("origin", inner)
    return Subject("service", inner) if kind == "service" and inner else Subject("app", name)


def _none_of(word: str, journal: "Journal", paths: "StatePaths") -> str:
    """Say that there are no events, and where there may be some."""
    from reconciler.cli.app_names import desired_apps, meant
    from reconciler.planning.name_patterns import is_pattern
    from reconciler.planning.subject import Subject

    if "/" not in word and journal.newest(Subject("service", word), 1):
        return (
            f"there are no events of an app named '{plain(word)}'; for the service: 'reconciler events service/{word}'"
        )
    subject = _subject_of(word)
    lists = f"'reconciler {_LISTS.get(subject.kind, 'status')}' lists the names"
    likely = meant(desired_apps(paths), word) if subject.kind == "app" else ""
    whom = f"what matches '{plain(word)}'" if is_pattern(word) else plain(subject)
    return f"there are no events of {whom}; {likely or lists}"


def _follow(
    journal: "Journal", subjects: "Sequence[Subject] | None", last: int, kinds: Sequence[str], as_json: bool
) -> None:
    while is_read(_POLL_S):
        newer = journal.newest(subjects, _AT_ONCE, last, kinds=kinds)
        _print(newer, as_json)
        last = newer[-1].id if newer else last


def _print(events: "Sequence[Event]", as_json: bool) -> None:
    from reconciler.state.journal import as_record

    for event in events:
        click.echo(json_text(as_record(event)) if as_json else "\n".join(event_lines(event, width())))


def event_lines(event: "Event", limit: int | None) -> list[str]:
    """Return an event as lines of at most `limit` characters, those after the first below its subject."""
    from reconciler.state.journal import as_line

    return wrapped(plain(as_line(event)), limit, _BELOW_SUBJECT)
