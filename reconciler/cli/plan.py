"""Show what the daemon would do now, and why.

Shows the actions for APP, or for every app and service, and changes nothing; for one APP, also when its schedules start
next, on their own clocks and on the host's. For what failed, says when it is tried again, or that an edit has to fix
it. Reads the manifests and every source again, whether a daemon is running or not. Warns of what staging would
certainly refuse. Exits with 0 when everything is up to date, with 2 when something is to be done or waits, and with 1
when a manifest or a source is wrong.

With --commit, shows what it would do with a commit of an origin in git, and exits with 1 if that would not be accepted.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.failure import Failure, Told
from reconciler.cli.options import examples, host_options, json_option, open_snapshot, paths_in_use, reading
from reconciler.cli.table import DIFFERENCE_COLOURS, show_json, styled
from reconciler.inspection.manifests import problems_of
from reconciler.inspection.plans import AppPlan, exit_code, facts, plans_now, summary
from reconciler.inspection.printable import ago, plain
from reconciler.planning.wording import counted
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.inspection.commit_plans import CommitPlan
    from reconciler.manifests.catalog import Catalog
    from reconciler.settings.git import GitOrigin

_MOST_FILES, _MOST_LINES = 100, 1000  # of each app
_HEAD_LINES = 2  # the names before and after, which are one


@click.command(
    help=__doc__,
    epilog=examples(
        "reconciler plan",
        "reconciler plan blog --diff",
        "reconciler plan blog --json",
        "reconciler plan --commit 91c2d0a",
        "reconciler plan --commit my-branch --origin fleet --diff",
    ),
)
@click.argument("app", required=False)
@click.option(
    "--diff",
    "with_diff",
    is_flag=True,
    help="Also show in which fields and lines of the source the desired revision differs from the serving one.",
)
@click.option(
    "--commit",
    "ref",
    metavar="REF",
    help="Plan for this commit: by its id, or for what a branch or a tag of the repository leads to now.",
)
@click.option("--origin", "origin", metavar="NAME", help="The origin of the commit, if not the only one.")
@json_option
@host_options
def command(  # noqa: PLR0913  its options
    *, settings: Settings, app: str | None, with_diff: bool, ref: str | None, origin: str | None, as_json: bool
) -> None:
    if ref is not None:
        _for_commit(settings, _origin(settings, origin), ref, app, with_diff=with_diff, as_json=as_json)
        return
    if origin is not None:
        raise click.UsageError("--origin is for --commit")
    with reading(settings.paths):
        plans, catalog = plans_now(settings, app, with_sources=with_diff)
    _report(plans, catalog, app, settings, with_diff=with_diff, more={} if as_json else None)


def _for_commit(  # noqa: PLR0913  what is asked for, and how it is shown
    settings: Settings, origin: "GitOrigin", ref: str, app: str | None, *, with_diff: bool, as_json: bool
) -> None:
    """Show what would be done with a commit, or why it would not be accepted."""
    from reconciler.inspection.commit_plans import NoCommit, commit_plan

    with open_snapshot(paths_in_use(settings.paths.state)) as snapshot:
        try:
            with commit_plan(settings, snapshot, origin, ref, app, with_sources=with_diff) as found:
                if not as_json:
                    click.echo(_ruling(found))
                elif found.ruling != "accepted":
                    show_json({"commit": found.facts(), **facts([], found.catalog)})
                if found.ruling != "accepted":
                    raise Told("failed", plain(f"commit {found.commit.id[:7]} would not be accepted: {found.why}"))
                more = {"commit": found.facts()} if as_json else None
                _report(list(found.plans), found.catalog, app, settings, with_diff=with_diff, more=more)
        except NoCommit as error:
            raise Failure("not-found", plain(str(error))) from error


def _origin(settings: Settings, name: str | None) -> "GitOrigin":
    """Return an origin of the settings by its name, or the only one. Raises Failure."""
    known = ", ".join(each.name for each in settings.origins)
    if not known:
        raise Failure("not-found", "no origins in git; 'origins' in the host's settings names them")
    if name is None and len(settings.origins) == 1:
        return settings.origins[0]
    found = [each for each in settings.origins if each.name == name]
    if not found:
        what = "there are several origins" if name is None else f"no origin is named '{plain(name)}'"
        raise Failure("not-found", f"{what}: name one of {known} with --origin")
    return found[0]


def _ruling(found: "CommitPlan") -> str:
    commit = f"{found.origin}: commit {found.commit.id[:7]} “{found.commit.subject}”"
    if found.ruling != "accepted":
        return styled(plain(f"{commit} would not be accepted ({found.ruling}): {found.why}"), fg="red")
    return plain(f"{commit} would be accepted{f', signed by {found.signer}' if found.signer else ''}")


def _report(  # noqa: PLR0913  what there is to show, and how
    plans: list[AppPlan],
    catalog: "Catalog",
    app: str | None,
    settings: Settings,
    *,
    with_diff: bool,
    more: Mapping[str, Any] | None,
) -> None:
    """Print the plans, as JSON with `more` if that is not None, and exit as they are."""
    if app is not None and not plans:
        refused = [plain(f"{problem}") for problem in problems_of(catalog) if Path(problem.file).stem == app]
        if refused:
            raise Failure("manifest-errors", f"the manifest of '{plain(app)}' is refused:\n" + "\n".join(refused))
        what = f"no app named '{plain(app)}', neither in {settings.manifests} nor on this host"
        raise Failure("not-found", what)
    if more is not None:
        show_json({**more, **facts(plans, catalog), **_schedule_facts(catalog, app)})
    else:
        _show(plans, catalog, settings if with_diff else None)
        for line in _schedules(catalog, app):
            click.echo(line)
    code = exit_code(plans, catalog)
    if code == 1:
        raise Told("manifest-errors", plain(catalog.notice or summary(plans, catalog)))
    if code:
        raise SystemExit(code)


def _show(plans: list[AppPlan], catalog: "Catalog", with_diff: Settings | None) -> None:
    """Print the plans; with the settings of the host, also what differs."""
    for problem in problems_of(catalog):
        click.echo(styled(plain(f"refused: {problem}"), fg="red"))
    if catalog.notice:
        click.echo(styled(plain(catalog.notice), fg="red"))
    for each in plans:
        for line in _lines(each):
            click.echo(line)
        for line in (*_diff(each), *_source(each, with_diff)) if with_diff is not None else ():
            click.echo(line)
    click.echo(summary(plans, catalog))


def _schedules(catalog: "Catalog", name: str | None) -> Iterator[str]:
    """Yield when the schedules of the one app that was asked about start next."""
    app = None if name is None else catalog.apps.get(name)
    if app is None or not app.schedules:
        return
    from reconciler.inspection.schedule_times import lines  # most apps have none

    yield from map(plain, lines(app.schedules, datetime.now(UTC).timestamp()))


def _schedule_facts(catalog: "Catalog", name: str | None) -> Mapping[str, Any]:
    app = None if name is None else catalog.apps.get(name)
    if app is None or not app.schedules:
        return {}
    from reconciler.inspection.schedule_times import facts as times  # most apps have none

    return {"schedules": times(app.schedules, datetime.now(UTC).timestamp())}


def _lines(app_plan: AppPlan) -> Iterator[str]:
    name = styled(plain(app_plan.subject), bold=True)
    if app_plan.error:
        yield f"{name}: {styled(plain(app_plan.error), fg='red')}"
    elif app_plan.wait_s is not None:
        yield f"{name}: retry in {ago(app_plan.wait_s)} — {plain(app_plan.message)}"
    elif app_plan.message:
        yield f"{name}: {plain(app_plan.message)}"
    for warning in app_plan.warnings:
        yield f"{name}: {styled(plain(f'warning: {warning}'), fg='yellow')}"
    then = "then " if app_plan.is_backing_off else ""
    for action in app_plan.actions:
        yield f"{name}: {then}{plain(action)} — {plain(action.cause)}"
    for each in app_plan.processes:
        name_of_process = styled(plain(f"{app_plan.subject}/{each.process}"), bold=True)
        yield f"{name_of_process}: {plain(each.what)} — {plain(each.cause)}"
    if app_plan.start_follows:
        ready = (f"{each} {'is created' if each.kind == 'service' else 'serves'}" for each in app_plan.start_follows)
        yield f"{name}: start once {plain(' and '.join(ready))} — it follows from this plan"


def _diff(app_plan: AppPlan) -> Iterator[str]:
    difference = app_plan.difference
    if difference is not None and difference.changes:
        yield f"  compared with revision {difference.before}, which {'serves' if difference.serves else 'served last'}:"
        for change in difference.changes:
            yield f"    {plain(change)}"


def _source(app_plan: AppPlan, settings: Settings) -> Iterator[str]:
    """Yield the files of the source that differ, each followed by its lines, as many as there is room for."""
    from reconciler.inspection.log_redaction import given_texts

    source = app_plan.source
    if isinstance(source, str):
        yield f"  its source is not compared: {plain(source)}"
    if source is None or isinstance(source, str) or not source.difference.files:
        return
    yield "  files of its source that differ:"
    room = _MOST_LINES
    for file in islice(source.shown(given_texts(settings, app_plan.subject.name)), _MOST_FILES):
        yield f"    {plain(file.title)}"
        lines = file.lines[_HEAD_LINES:]
        for line in lines[:room]:
            yield styled(f"      {plain(line)}", fg=DIFFERENCE_COLOURS.get(line[:1]))
        if len(lines) > room:
            yield f"      and {counted(len(lines) - room, 'more line')}"
        room = max(0, room - len(lines))
    others = len(source.difference.files) - _MOST_FILES
    if others > 0:
        yield f"    and {counted(others, 'more file')}"
    if not source.difference.complete:
        yield "    the comparison takes long and was ended: there may be more"
