"""Check every manifest, and report every error.

Changes nothing. Exits with 0 when there are no errors, otherwise with 1.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import examples, manifests_option, with_settings
from reconciler.cli.table import show_json, styled
from reconciler.inspection.manifests import checked, problems_of
from reconciler.inspection.printable import plain
from reconciler.planning.wording import counted
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.documents.problem import Problem
    from reconciler.manifests.catalog import Catalog


@click.command(
    help=__doc__,
    epilog=examples(
        "reconciler validate --manifests /srv/manifests",
        "reconciler validate --format github       annotations in a GitHub workflow",
    ),
)
@with_settings(manifests_option)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
    help="text: file:line:column, which editors can jump to.",
)
def command(settings: Settings, form: str) -> None:
    catalog = checked(settings)
    problems = list(problems_of(catalog))
    reason = _unreadable(catalog)
    if form == "json":
        show_json(_facts(catalog, problems, reason))
    else:
        for line in _github(problems) if form == "github" else (plain(problem) for problem in problems):
            click.echo(line)
        click.echo(
            f"::error::{_escaped(reason)}" if reason and form == "github" else reason or _summary(catalog, problems)
        )
    if problems or reason:
        raise SystemExit(1)


def _unreadable(catalog: "Catalog") -> str | None:
    """Return why the directory cannot be read, None if it can."""
    return plain(catalog.notice.partition(";")[0]) if catalog.notice else None


def _summary(catalog: "Catalog", problems: list["Problem"]) -> str:
    found = counted(len(problems), "problem") if problems else "no problems"
    services = f", {counted(len(catalog.services), 'service')}" if catalog.services else ""
    text = f"{counted(len(catalog.files), 'file')}, {counted(len(catalog.apps), 'app')}{services}, {found}"
    return styled(text, fg="red" if problems else "green")


def _facts(catalog: "Catalog", problems: list["Problem"], reason: str | None) -> dict[str, object]:
    return {
        "files": len(catalog.files),
        "apps": sorted(catalog.apps),
        "services": sorted(catalog.services),
        "error": reason,
        "problems": [
            {"file": p.file, "line": p.line, "column": p.column, "path": p.path, "message": p.message} for p in problems
        ],
    }


def _github(problems: Iterable["Problem"]) -> Iterable[str]:
    """Yield workflow commands, see https://docs.github.com/actions/reference/workflow-commands-for-github-actions.

    The file is relative to the working directory, which in a workflow is the checkout's root.
    """
    here = Path.cwd()
    for problem in problems:
        path = Path(problem.file)
        file = str(path.relative_to(here) if path.is_relative_to(here) else path)
        message = f"{problem.path}: {problem.message}" if problem.path else problem.message
        where = f"file={_escaped(file, ',:')},line={problem.line},col={problem.column}"
        yield f"::error {where}::{_escaped(message)}"


def _escaped(text: str, also: str = "") -> str:
    for character in "%\r\n" + also:
        text = text.replace(character, f"%{ord(character):02X}")
    return plain(text)
