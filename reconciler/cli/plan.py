"""`reconciler plan`: what would be done, and why, without doing it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import examples, host_options, json_option, reading
from reconciler.cli.table import show_json, styled
from reconciler.inspection.catalog import problems_of
from reconciler.inspection.plans import AppPlan, facts, plans_now
from reconciler.inspection.printable import ago, counted, plain
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.manifests.catalog import Catalog


@click.command(epilog=examples("reconciler plan", "reconciler plan blog --diff", "reconciler plan blog --json"))
@click.argument("app", required=False)
@click.option(
    "--diff", "with_diff", is_flag=True, help="Also each field in which what should run differs from what does."
)
@json_option
@host_options
def command(settings: Settings, app: str | None, with_diff: bool, as_json: bool) -> None:
    """What would be done now about APP, or every app, and why; nothing is done.

    Looks at the manifests and at every source afresh, whether a daemon runs or not. Exits with 0 when there is nothing
    to do, 2 when there is something, 1 when a manifest or a source is wrong.
    """
    with reading(settings.paths):
        outlooks, catalog = plans_now(settings, app)
    if app is not None and not outlooks:
        raise click.ClickException(
            f"no app named '{plain(app)}' in {settings.manifests}, and nothing of it is left here"
        )
    show_json(facts(outlooks, catalog)) if as_json else _show(outlooks, catalog, with_diff=with_diff)
    if catalog.notice or any(problems_of(catalog)) or any(outlook.error for outlook in outlooks):
        raise SystemExit(1)
    if not all(outlook.is_done for outlook in outlooks):
        raise SystemExit(2)


def _show(outlooks: list[AppPlan], catalog: "Catalog", *, with_diff: bool) -> None:
    for problem in problems_of(catalog):
        click.echo(styled(plain(f"refused: {problem}"), fg="red"))
    if catalog.notice:
        click.echo(styled(plain(catalog.notice), fg="red"))
    for outlook in outlooks:
        for line in _lines(outlook):
            click.echo(line)
        for line in _diff(outlook) if with_diff else ():
            click.echo(line)
    click.echo(_summary(outlooks))


def _lines(outlook: AppPlan) -> Iterator[str]:
    name = styled(plain(outlook.name), bold=True)
    for action in outlook.plan.actions if outlook.plan else ():
        yield f"{name}: {plain(action)} — {plain(action.cause)}"
    if outlook.plan and outlook.wait_s is not None and not outlook.error:
        yield f"{name}: start again in {ago(outlook.wait_s)} — {plain(outlook.plan.message)}"
    if outlook.error:
        yield f"{name}: {styled(plain(outlook.error), fg='red')}"


def _diff(outlook: AppPlan) -> Iterator[str]:
    if outlook.difference is not None and outlook.difference.changes:
        yield f"  unlike revision {outlook.difference.before}, which {outlook.difference.stands}:"
        for change in outlook.difference.changes:
            yield f"    {plain(change)}"


def _summary(outlooks: list[AppPlan]) -> str:
    if not outlooks:
        return "nothing to do: no app is asked for, and nothing is left of any"
    done = sum(outlook.is_done for outlook in outlooks)
    noun = "app or service" if any(outlook.is_service for outlook in outlooks) else "app"
    if done == len(outlooks):
        return f"nothing to do: {_counted(done, noun)} as asked"
    actions = sum(len(outlook.plan.actions) for outlook in outlooks if outlook.plan)
    wrong = sum(outlook.error is not None for outlook in outlooks if not outlook.is_service)
    unmade = sum(outlook.error is not None for outlook in outlooks if outlook.is_service)
    told = [counted(actions, "action"), f"for {_counted(len(outlooks) - done, noun)}"]
    rest = [f"{done} as asked"] if done else []
    rest += [f"{counted(wrong, 'source')} cannot be read"] if wrong else []
    rest += [f"{counted(unmade, 'service')} cannot be made"] if unmade else []
    return " ".join(told) + "".join(f", {part}" for part in rest)


def _counted(number: int, noun: str) -> str:
    if noun == "app":
        return counted(number, noun)
    return f"{number} {noun}" if number == 1 else f"{number} apps and services"
