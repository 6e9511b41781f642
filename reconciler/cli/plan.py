"""Show what the daemon would do now, and why.

Shows the actions for APP, or for every app and service, and changes nothing. Reads the manifests and every source
again, whether a daemon is running or not. Exits with 0 when everything is up to date, with 2 when something is to
be done or waits, and with 1 when a manifest or a source is wrong.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import examples, host_options, json_option, reading
from reconciler.cli.table import show_json, styled
from reconciler.inspection.manifests import problems_of
from reconciler.inspection.plans import AppPlan, facts, plans_now
from reconciler.inspection.printable import ago, plain
from reconciler.planning.wording import counted
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.manifests.catalog import Catalog


@click.command(
    help=__doc__, epilog=examples("reconciler plan", "reconciler plan blog --diff", "reconciler plan blog --json")
)
@click.argument("app", required=False)
@click.option(
    "--diff",
    "with_diff",
    is_flag=True,
    help="Also show each field in which the desired revision differs from the serving one.",
)
@json_option
@host_options
def command(settings: Settings, app: str | None, with_diff: bool, as_json: bool) -> None:
    with reading(settings.paths):
        plans, catalog = plans_now(settings, app)
    if app is not None and not plans:
        refused = [plain(f"{problem}") for problem in problems_of(catalog) if Path(problem.file).stem == app]
        if refused:
            raise click.ClickException(f"the manifest of '{plain(app)}' is invalid:\n" + "\n".join(refused))
        raise click.ClickException(f"no app named '{plain(app)}', neither in {settings.manifests} nor on this host")
    show_json(facts(plans, catalog)) if as_json else _show(plans, catalog, with_diff=with_diff)
    if catalog.notice or any(problems_of(catalog)) or any(each.error for each in plans):
        raise SystemExit(1)
    if not all(each.is_done for each in plans):
        raise SystemExit(2)


def _show(plans: list[AppPlan], catalog: "Catalog", *, with_diff: bool) -> None:
    for problem in problems_of(catalog):
        click.echo(styled(plain(f"refused: {problem}"), fg="red"))
    if catalog.notice:
        click.echo(styled(plain(catalog.notice), fg="red"))
    for each in plans:
        for line in _lines(each):
            click.echo(line)
        for line in _diff(each) if with_diff else ():
            click.echo(line)
    click.echo(_summary(plans))


def _lines(app_plan: AppPlan) -> Iterator[str]:
    name = styled(plain(app_plan.subject), bold=True)
    for action in app_plan.actions:
        yield f"{name}: {plain(action)} — {plain(action.cause)}"
    if app_plan.plan and app_plan.wait_s is not None and not app_plan.error:
        yield f"{name}: retry in {ago(app_plan.wait_s)} — {plain(app_plan.plan.message)}"
    elif app_plan.plan and app_plan.is_waiting:
        yield f"{name}: {plain(app_plan.plan.message)}"
    if app_plan.error:
        yield f"{name}: {styled(plain(app_plan.error), fg='red')}"


def _diff(app_plan: AppPlan) -> Iterator[str]:
    difference = app_plan.difference
    if difference is not None and difference.changes:
        yield f"  compared with revision {difference.before}, which {'serves' if difference.serves else 'served last'}:"
        for change in difference.changes:
            yield f"    {plain(change)}"


def _summary(plans: list[AppPlan]) -> str:
    if not plans:
        return "nothing to do: no manifests, and no apps left to remove"
    done = sum(each.is_done for each in plans)
    with_services = any(each.is_service for each in plans)
    if done == len(plans):
        return f"nothing to do: {_counted(done, with_services)} up to date"
    busy = sum(bool(each.actions) for each in plans)
    actions = sum(len(each.actions) for each in plans)
    parts = [f"{counted(actions, 'action')} for {_counted(busy, with_services)}"] if busy else []
    retrying = sum(each.wait_s is not None and not each.error and not each.actions for each in plans)
    parts += [f"{retrying} waiting to retry"] if retrying else []
    waiting = sum(each.is_waiting and each.wait_s is None for each in plans)
    parts += [f"{waiting} waiting"] if waiting else []
    parts += [f"{done} up to date"] if done else []
    unreadable = sum(each.error is not None for each in plans if not each.is_service)
    parts += [f"{counted(unreadable, 'source')} unreadable"] if unreadable else []
    failing = sum(each.error is not None for each in plans if each.is_service)
    parts += [f"{counted(failing, 'service')} failing"] if failing else []
    return ", ".join(parts)


def _counted(number: int, with_services: bool) -> str:
    if not with_services:
        return counted(number, "app")
    return f"{number} app or service" if number == 1 else f"{number} apps and services"
