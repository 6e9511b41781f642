"""`reconciler plan`: what would be done, and why, without doing it."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import examples, glimpsed, host_options, json_option
from reconciler.cli.table import ago, counted, plain, show_json, styled
from reconciler.inspection.catalog import asked_of, problems_of
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.inspection.differences import Difference
    from reconciler.inspection.snapshot import Glimpse
    from reconciler.manifests.catalog import Catalog
    from reconciler.planning.apps.plan import Plan
    from reconciler.planning.desired import App
    from reconciler.planning.services.plan import Plan as ServicePlan
    from reconciler.services.observer import Sight


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What would be done about one app. `error` says why its source cannot be read; `wait_s` until when it waits.

    `difference` is that between what should run and what does, None where one of them is not known.
    """

    name: str
    plan: "Plan | ServicePlan | None"
    error: str | None = None
    wait_s: float | None = None
    difference: "Difference | None" = None

    @property
    def is_service(self) -> bool:
        """True for a service, False for an app."""
        return self.name.startswith("service ")

    @property
    def is_done(self) -> bool:
        """True when nothing is to be done, now or after a delay."""
        return self.error is None and self.wait_s is None and self.plan is not None and not self.plan.actions


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
    outlooks, catalog = looked(settings, app)
    if app is not None and not outlooks:
        raise click.ClickException(
            f"no app named '{plain(app)}' in {settings.manifests}, and nothing of it is left here"
        )
    show_json(facts(outlooks, catalog)) if as_json else _show(outlooks, catalog, with_diff=with_diff)
    if catalog.notice or any(problems_of(catalog)) or any(outlook.error for outlook in outlooks):
        raise SystemExit(1)
    if not all(outlook.is_done for outlook in outlooks):
        raise SystemExit(2)


def looked(settings: Settings, app: str | None) -> "tuple[list[Outlook], Catalog]":
    """What would be done about one app, or every app, and what is asked for."""
    with contextlib.ExitStack() as stack:
        known = settings.layout.database.exists()
        glimpse = stack.enter_context(glimpsed(settings.layout)) if known else None
        catalog = asked_of(settings, glimpse)
        return list(_outlooks(catalog, glimpse, app, settings)), catalog


def _outlooks(catalog: "Catalog", glimpse: "Glimpse | None", only: str | None, settings: Settings) -> Iterator[Outlook]:
    from reconciler.manifests import persisted

    sight = None if glimpse is None else glimpse.sight(settings, catalog.services, catalog.apps)
    yield from _service_outlooks(catalog, glimpse, sight, only)
    names = set(catalog.apps)
    if glimpse is not None:
        names |= glimpse.names - persisted.apps_of_unreadable(glimpse.records, catalog).keys()
    for name in sorted(names):
        if only in {None, name}:
            yield _outlook(name, catalog.apps.get(name), glimpse, sight)


def _service_outlooks(
    catalog: "Catalog", glimpse: "Glimpse | None", sight: "Sight | None", only: str | None
) -> Iterator[Outlook]:
    from reconciler.planning.services.actions import Seen
    from reconciler.planning.services.plan import plan

    now = time.monotonic()
    kept = () if glimpse is None else glimpse.ledger.services()
    for name in sorted({*catalog.services, *(record.name for record in kept)}):
        if only in {None, name}:
            wanted = {app.name: "" for app in catalog.apps.values() if name in {b.service for b in app.bindings}}
            seen = Seen(wanted_by=wanted) if sight is None else sight.seen(name)
            planned = plan(catalog.services.get(name), seen, now)
            yield Outlook(name=f"service {name}", plan=planned, error=seen.problem)


def _outlook(name: str, app: "App | None", glimpse: "Glimpse | None", sight: "Sight | None") -> Outlook:
    from reconciler.inspection.differences import difference
    from reconciler.inspection.snapshot import Reading, read
    from reconciler.planning.apps.actions import Prove
    from reconciler.planning.apps.observed import Observed, SourceLook, Supplies
    from reconciler.planning.apps.plan import plan

    reading = Reading(content=None)
    if app is not None and app.state == "running":
        reading = glimpse.read(app) if glimpse is not None else read(app)
        if reading.content is None:
            return Outlook(name=name, plan=None, error=reading.problem)
    if glimpse is not None:
        observed = glimpse.observed(name, app, reading.content, sight)
    elif app is not None and reading.content is not None:
        missing = tuple(f"service {binding.service}: it was never made" for binding in app.bindings)
        look = SourceLook(source=app.source, content=reading.content)
        observed = Observed(source=look, supplies=Supplies(missing=missing))
    else:
        observed = Observed()
    now = time.monotonic()
    planned = plan(app, observed, now)
    waits = planned.look_again_at is not None and planned.failures > 0 and not planned.settled
    wait_s = planned.look_again_at - now if waits and planned.look_again_at is not None else None
    # That a revision has proven itself is noted by whoever watches it next: nothing an operator would call a change.
    changes = tuple(action for action in planned.actions if not isinstance(action, Prove))
    return Outlook(
        name=name,
        plan=replace(planned, actions=changes),
        error=reading.problem,
        wait_s=wait_s,
        difference=difference(app, observed, planned.wanted),
    )


def _show(outlooks: list[Outlook], catalog: "Catalog", *, with_diff: bool) -> None:
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


def _lines(outlook: Outlook) -> Iterator[str]:
    name = styled(plain(outlook.name), bold=True)
    for action in outlook.plan.actions if outlook.plan else ():
        yield f"{name}: {plain(action)} — {plain(action.cause)}"
    if outlook.plan and outlook.wait_s is not None and not outlook.error:
        yield f"{name}: start again in {ago(outlook.wait_s)} — {plain(outlook.plan.message)}"
    if outlook.error:
        yield f"{name}: {styled(plain(outlook.error), fg='red')}"


def _diff(outlook: Outlook) -> Iterator[str]:
    if outlook.difference is not None and outlook.difference.changes:
        yield f"  unlike revision {outlook.difference.before}, which {outlook.difference.stands}:"
        for change in outlook.difference.changes:
            yield f"    {plain(change)}"


def _summary(outlooks: list[Outlook]) -> str:
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


def facts(outlooks: list[Outlook], catalog: "Catalog") -> dict[str, object]:
    """The same for a machine."""
    return {
        "apps": [_record(outlook) for outlook in outlooks if not outlook.is_service],
        "services": [_record(outlook) for outlook in outlooks if outlook.is_service],
        "problems": [
            {"file": p.file, "line": p.line, "column": p.column, "path": p.path, "message": p.message}
            for p in problems_of(catalog)
        ],
        "notice": catalog.notice,
    }


def _record(outlook: Outlook) -> dict[str, object]:
    planned, unlike = outlook.plan, outlook.difference
    return {
        "name": outlook.name.removeprefix("service "),
        "wanted_revision": planned.wanted if planned else None,
        "actions": [
            {"action": type(action).__name__, "what": str(action), "cause": action.cause} for action in planned.actions
        ]
        if planned
        else [],
        "message": planned.message if planned else "",
        "wait_seconds": outlook.wait_s,
        "error": outlook.error,
        "unlike_revision": unlike.before if unlike else None,
        "changes": [{"field": c.field, "before": c.before, "after": c.after} for c in unlike.changes] if unlike else [],
    }
