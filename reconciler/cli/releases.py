"""List what an app ran, what changed, and what became of it.

Newest first: when each revision of APP was released, what asked for it, which fields of the manifest and which files of
the source differ from the revision that served before, and the outcome. Those marked with * can be rolled back to.
REVISION, or the beginning of it, shows one; --diff shows its source's lines.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from reconciler.cli.failure import Failure
from reconciler.cli.options import examples, json_option, open_snapshot, paths_in_use, with_settings
from reconciler.cli.table import DIFFERENCE_COLOURS, show_json, styled, width, wrapped
from reconciler.inspection.printable import ago, clock, plain

if TYPE_CHECKING:
    from reconciler.inspection.releases import Release
    from reconciler.inspection.snapshot import HostSnapshot
    from reconciler.settings.settings import Settings

_MOST_LINES = 5000
_COLOURS = {"serving": "green", "failed": "red", "deploying": "yellow", "canary": "yellow"}


@click.command(
    help=__doc__,
    epilog=examples(
        "reconciler releases blog", "reconciler releases blog 1a2b3c --diff", "reconciler releases blog --json"
    ),
)
@click.argument("app")
@click.argument("revision", required=False)
@click.option("--diff", "with_diff", is_flag=True, help="Show the lines of the source that differ; needs REVISION.")
@json_option
@with_settings()
def command(settings: "Settings", app: str, revision: str | None, with_diff: bool, as_json: bool) -> None:
    from reconciler.inspection.releases import releases

    if with_diff and revision is None:
        raise click.UsageError("--diff needs a REVISION; 'reconciler releases APP' lists them")
    with open_snapshot(paths_in_use(settings.paths.state)) as snapshot:
        found = releases(snapshot, app)
        if not found:
            raise Failure("not-found", f"no app named '{plain(app)}' was ever released on this host")
        chosen = found if revision is None else [_chosen(found, revision)]
        if as_json:
            show_json({"app": app, "releases": [each.facts() for each in chosen]})
        else:
            for each in chosen:
                _show(each, whole=revision is not None)
        if with_diff and not as_json:
            _show_source(snapshot, settings, app, chosen[0])


def _chosen(found: "tuple[Release, ...]", revision: str) -> "Release":
    """Return the newest release of a revision, by a beginning of its id that no other one has."""
    fitting = [each for each in found if each.record.revision.startswith(revision)]
    ids = list(dict.fromkeys(each.record.revision for each in fitting or found))
    if not fitting or len(ids) > 1:
        wrong = "begins more than one revision" if fitting else "is no revision that is known"
        raise Failure("not-found", f"'{plain(revision)}' {wrong}; choose one of {', '.join(ids)}")
    return fitting[0]


def _show(release: "Release", *, whole: bool) -> None:
    record = release.record
    at = clock(record.at) if record.at else "at an unknown time"
    mark = "*" if release.can_roll_back else " "
    outcome = styled(_outcome(release), fg=_COLOURS.get(release.outcome))
    click.echo(f"{mark} {styled(record.revision, bold=True)}  {at}  {outcome}")
    for line in _details(release, whole=whole):
        for part in wrapped(f"    {plain(line)}", width(), "      "):
            click.echo(part)


def _outcome(release: "Release") -> str:
    record = release.record
    match release.outcome:
        case "failed":
            return f"failed {record.failures} times" if record.failures > 1 else "failed"
        case "replaced" | "rolled back" if record.served_at is not None and record.served_until is not None:
            by = "replaced" if release.outcome == "replaced" else "rolled back by an operator"
            served = ago(record.served_until - record.served_at)
            return f"{by}; served {served}, until {clock(record.served_until)}"
        case "superseded":
            return "replaced before it served"
        case other:
            return other


def _details(release: "Release", *, whole: bool) -> Iterator[str]:
    yield f"cause: {release.cause}"
    if release.record.failure:
        yield f"failure: {release.record.failure}"
    for change in release.changes or ():
        yield f"{change}"
    if release.files is None or not release.files.files:
        return
    if whole:
        yield from (f"{file}" for file in release.files.files)
    else:
        yield f"source: {release.files.summary}"


def _show_source(snapshot: "HostSnapshot", settings: "Settings", app: str, release: "Release") -> None:
    from reconciler.inspection.releases import source_lines

    lines = source_lines(snapshot, settings, app, release)
    if lines is None:
        raise click.ClickException(
            "the source cannot be compared: the build of this revision or of the one before it is not kept"
        )
    for number, line in enumerate(lines):
        if number >= _MOST_LINES:
            click.echo(f"only the first {_MOST_LINES} lines are shown", err=True)
            break
        click.echo(styled(plain(line), fg=DIFFERENCE_COLOURS.get(line[:1])))
