"""Show what the daemon would do now, and why.

Shows the actions for APP, or for every app and service, and changes nothing. Of what failed, says when it is tried
again, or that an edit has to fix it. Reads the manifests and every source again, whether a daemon is running or not.
Warns of what staging would certainly refuse. Exits with 0 when everything is up to date, with 2 when something is to be
done or waits, and with 1 when a manifest or a source is wrong.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.failure import Failure, Told
from reconciler.cli.options import examples, host_options, json_option, reading
from reconciler.cli.table import DIFFERENCE_COLOURS, show_json, styled
from reconciler.inspection.manifests import problems_of
from reconciler.inspection.plans import AppPlan, exit_code, facts, plans_now, summary
from reconciler.inspection.printable import ago, plain
from reconciler.planning.wording import counted
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.manifests.catalog import Catalog

_MOST_FILES, _MOST_LINES = 100, 1000  # of each app
_HEAD_LINES = 2  # the names before and after, which are one


@click.command(
    help=__doc__, epilog=examples("reconciler plan", "reconciler plan blog --diff", "reconciler plan blog --json")
)
@click.argument("app", required=False)
@click.option(
    "--diff",
    "with_diff",
    is_flag=True,
    help="Also show in which fields and lines of the source the desired revision differs from the serving one.",
)
@json_option
@host_options
def command(settings: Settings, app: str | None, with_diff: bool, as_json: bool) -> None:
    with reading(settings.paths):
        plans, catalog = plans_now(settings, app, with_sources=with_diff)
    if app is not None and not plans:
        refused = [plain(f"{problem}") for problem in problems_of(catalog) if Path(problem.file).stem == app]
        if refused:
            raise Failure("manifest-errors", f"the manifest of '{plain(app)}' is refused:\n" + "\n".join(refused))
        what = f"no app named '{plain(app)}', neither in {settings.manifests} nor on this host"
        raise Failure("not-found", what)
    if as_json:
        show_json(facts(plans, catalog))
    else:
        _show(plans, catalog, settings if with_diff else None)
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
