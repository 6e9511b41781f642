"""Check every manifest, and report every error.

Of two manifests that claim one name or port, the later one is refused if the daemon of the state directory knows which
that is, otherwise both. Changes nothing. Exits with 1 when there are errors, otherwise with 0. Warnings name what is
missing on this host, such as a source, a file or a service, what staging would certainly refuse of a source, and data
that a deploy would replace; with --strict, they fail as errors do. No code of an app runs.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.failure import Told
from reconciler.cli.options import examples, manifests_option, without_daemon
from reconciler.cli.table import show_json, styled
from reconciler.inspection.manifests import checked, problems_of
from reconciler.inspection.missing import warnings_of
from reconciler.inspection.printable import plain
from reconciler.planning.wording import counted
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.documents.problem import Problem
    from reconciler.manifests.catalog import Catalog


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What is wrong with the manifests; `unreadable` says why their directory cannot be read."""

    errors: "list[Problem]"
    warnings: "list[Problem]"
    unreadable: str | None


@click.command(
    help=__doc__,
    epilog=examples(
        "reconciler validate --manifests /srv/manifests",
        "reconciler validate --strict",
        "reconciler validate --format github       annotations in a GitHub workflow",
    ),
)
@without_daemon(manifests_option)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
    help="text: file:line:column, which editors can jump to.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as --format json does.")
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings, too.")
def command(settings: Settings, form: str, as_json: bool, strict: bool) -> None:
    form = "json" if as_json else form
    catalog = checked(settings)
    found = _Found(
        errors=list(problems_of(catalog)),
        warnings=list(warnings_of(catalog, settings.manifests, settings.paths.state, settings.interpreters)),
        unreadable=plain(catalog.notice.partition(";")[0]) if catalog.notice else None,
    )
    if form == "json":
        show_json(_facts(catalog, found))
    else:
        for line in _github(found) if form == "github" else _lines(found):
            click.echo(line)
        if form == "text" or not found.unreadable:
            click.echo(found.unreadable or _summary(catalog, found, settings.manifests))
    if found.errors or found.unreadable or (strict and found.warnings):
        raise Told("manifest-errors", found.unreadable or _summary(catalog, found, settings.manifests))


def _lines(found: _Found) -> Iterable[str]:
    yield from (plain(error) for error in found.errors)
    for warning in found.warnings:
        yield plain(replace(warning, path=f"warning: {warning.path}"))


def _summary(catalog: "Catalog", found: _Found, directory: Path) -> str:
    errors = counted(len(found.errors), "problem") if found.errors else "no problems"
    warnings = f", {counted(len(found.warnings), 'warning')}" if found.warnings else ""
    services = f", {counted(len(catalog.services), 'service')}" if catalog.services else ""
    counts = f"{counted(len(catalog.files), 'file')}, {counted(len(catalog.apps), 'app')}{services}"
    colour = "red" if found.errors else "yellow" if found.warnings else "green"
    return styled(plain(f"{directory}: {counts}, {errors}{warnings}"), fg=colour)


def _facts(catalog: "Catalog", found: _Found) -> dict[str, object]:
    return {
        "files": len(catalog.files),
        "apps": sorted(catalog.apps),
        "services": sorted(catalog.services),
        "error": found.unreadable,
        "problems": [_fact(problem) for problem in found.errors],
        "warnings": [_fact(problem) for problem in found.warnings],
    }


def _fact(p: "Problem") -> dict[str, object]:
    return {"file": p.file, "line": p.line, "column": p.column, "path": p.path, "message": p.message}


def _github(found: _Found) -> Iterable[str]:
    """Yield workflow commands, see https://docs.github.com/actions/reference/workflow-commands-for-github-actions.

    The file is relative to the working directory, which in a workflow is the checkout's root.
    """
    here = Path.cwd()
    for level, problems in (("error", found.errors), ("warning", found.warnings)):
        for problem in problems:
            path = Path(problem.file)
            file = str(path.relative_to(here) if path.is_relative_to(here) else path)
            message = f"{problem.path}: {problem.message}" if problem.path else problem.message
            where = f"file={_escaped(file, ',:')},line={problem.line},col={problem.column}"
            yield f"::{level} {where}::{_escaped(message)}"
    if found.unreadable:
        yield f"::error::{_escaped(found.unreadable)}"


def _escaped(text: str, also: str = "") -> str:
    for character in "%\r\n" + also:
        text = text.replace(character, f"%{ord(character):02X}")
    return plain(text)
