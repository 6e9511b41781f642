"""Check every manifest, and report every error.

Of two manifests that claim one name or port, the later one is refused if the daemon of the state directory knows which
that is, otherwise both. Changes nothing. Exits with 1 when there are errors, otherwise with 0. Warnings name what is
missing on this host, such as a source, a file or a service, what staging would certainly refuse of a source, and data
that a deploy would replace; with --strict, they fail as errors do. No code of an app runs.

For an app that its manifest places in a cluster, also reports what no cluster could run, or not that one, without
asking it.

With --git, checks what a commit comes to on a host, as the daemon there would: its files, its manifests and the fence,
without a daemon, a network or a checkout. The host's settings say how, if there are any.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.failure import Failure, Told
from reconciler.cli.options import examples, manifests_option, without_daemon
from reconciler.cli.table import show_json, styled
from reconciler.inspection.manifests import checked, problems_of, refused_by_clusters
from reconciler.inspection.missing import warnings_of
from reconciler.inspection.printable import plain
from reconciler.linux.dataclass import dataclass
from reconciler.planning.wording import counted
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.documents.problem import Problem
    from reconciler.inspection.committed import Judged


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What is wrong with manifests, `subject`, of which there are so many apps and services.

    `unreadable` says why they cannot be read or used as a whole.
    """

    subject: str
    files: int
    apps: "Sequence[str]"
    services: "Sequence[str]"
    errors: "Sequence[Problem]"
    warnings: "Sequence[Problem]"
    unreadable: str | None


@click.command(
    help=__doc__,
    epilog=examples(
        "reconciler validate --manifests /srv/manifests",
        "reconciler validate --strict",
        "reconciler validate --format github       annotations in a GitHub workflow",
        "reconciler validate --git . --as web1 --settings host.yaml",
        "reconciler validate --git fleet.git:main --path 'hosts/{host}' --as web1",
    ),
)
@without_daemon(manifests_option, writes_unless="repository")
@click.option(
    "--git",
    "repository",
    metavar="DIR[:REF]",
    help="Check a commit of this repository, bare or not.  [default of REF: HEAD]",
)
@click.option("--as", "as_host", metavar="HOST", help="The host that the commit is for: {host} in paths.")
@click.option("--origin", metavar="NAME", help="The origin of the host's settings that the commit is of.")
@click.option(
    "--path",
    "paths",
    metavar="PATH",
    multiple=True,
    help="A directory of manifests in the repository; may be given again.  [default: the origin's, otherwise the top]",
)
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
def command(  # noqa: PLR0913  its options
    *,
    settings: Settings,
    repository: str | None,
    as_host: str | None,
    origin: str | None,
    paths: tuple[str, ...],
    form: str,
    as_json: bool,
    strict: bool,
) -> None:
    form = "json" if as_json else form
    if repository is None:
        if as_host is not None or origin is not None or paths:
            raise click.UsageError("--as, --origin and --path are for --git")
        found, more = _of_catalog(settings), {}
    else:
        judged = _judged(settings, repository, as_host, origin, paths)
        found, more = _of_commit(repository, judged), _commit_facts(judged)
    _report(found, more, form, strict=strict)


def _of_catalog(settings: Settings) -> _Found:
    catalog = refused_by_clusters(settings, checked(settings))
    return _Found(
        subject=str(settings.manifests),
        files=len(catalog.files),
        apps=sorted(catalog.apps),
        services=sorted(catalog.services),
        errors=list(problems_of(catalog)),
        warnings=list(warnings_of(catalog, settings.manifests, settings.paths.state, settings.interpreters)),
        unreadable=plain(catalog.notice.partition(";")[0]) if catalog.notice else None,
    )


def _judged(
    settings: Settings, repository: str, host: str | None, origin: str | None, paths: tuple[str, ...]
) -> "Judged":
    """Return what a commit comes to. Raises UsageError, or Failure if that cannot be said."""
    import socket

    from reconciler.inspection.committed import CannotJudge, judged, origin_for

    if click.get_current_context().get_parameter_source("manifests") == click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("give --manifests or --git, not both")
    for path in paths:
        if path.startswith("/") or ".." in path.split("/"):
            raise click.BadParameter(f"'{path}' leads out of the repository", param_hint="--path")
    directory, ref = _split(repository)
    known = next((each.host for each in settings.origins), socket.gethostname().partition(".")[0])
    try:
        chosen = origin_for(settings, directory, host or known, name=origin, paths=paths)
        return judged(settings, chosen, directory, ref)
    except CannotJudge as error:
        raise Failure("not-found", plain(str(error))) from error


def _split(repository: str) -> tuple[Path, str]:
    """Return the directory and the name of a commit in `DIR[:REF]`."""
    directory, colon, ref = repository.rpartition(":")
    if not colon or Path(repository).is_dir():
        return Path(repository), "HEAD"
    return Path(directory or "."), ref or "HEAD"


def _of_commit(repository: str, judged: "Judged") -> _Found:
    commit, origin = judged.commit, judged.origin
    is_told = bool(judged.errors) or not judged.refusal
    hint = "; --path names the directories of manifests" if origin.paths == ("",) else ""
    return _Found(
        subject=f"{repository}, commit {commit.id[:7]} on {origin.host}",
        files=judged.files,
        apps=judged.apps,
        services=judged.services,
        errors=judged.errors,
        warnings=judged.warnings,
        unreadable=None if is_told else plain(f"{judged.refusal}{hint}"),
    )


def _commit_facts(judged: "Judged") -> dict[str, object]:
    origin = judged.origin
    where = {"host": origin.host, "origin": origin.name, "paths": [*origin.paths]}
    return {"commit": judged.commit.id, **where, "accepted": not judged.refusal, "refusal": judged.refusal or None}


def _report(found: _Found, more: dict[str, object], form: str, *, strict: bool) -> None:
    """Print what was found, and fail if it is wrong."""
    if form == "json":
        show_json({**more, **_facts(found)})
    else:
        for line in _github(found) if form == "github" else _lines(found):
            click.echo(line)
        if form == "text" or not found.unreadable:
            click.echo(found.unreadable or _summary(found, more))
    if found.errors or found.unreadable or (strict and found.warnings):
        raise Told("manifest-errors", found.unreadable or _summary(found, more))


def _lines(found: _Found) -> Iterable[str]:
    yield from (plain(error) for error in found.errors)
    for warning in found.warnings:
        yield plain(replace(warning, path=f"warning: {warning.path}"))


def _summary(found: _Found, more: dict[str, object]) -> str:
    errors = counted(len(found.errors), "problem") if found.errors else "no problems"
    warnings = f", {counted(len(found.warnings), 'warning')}" if found.warnings else ""
    services = f", {counted(len(found.services), 'service')}" if found.services else ""
    counts = f"{counted(found.files, 'file')}, {counted(len(found.apps), 'app')}{services}, "
    if more.get("refusal"):
        counts, errors = "", f"refused for {errors}"
    colour = "red" if found.errors else "yellow" if found.warnings else "green"
    return styled(plain(f"{found.subject}: {counts}{errors}{warnings}"), fg=colour)


def _facts(found: _Found) -> dict[str, object]:
    return {
        "files": found.files,
        "apps": [*found.apps],
        "services": [*found.services],
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
