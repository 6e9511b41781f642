"""Compute what the daemon would do about each app and service, without doing it."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reconciler.inspection.manifests import desired, problems_of
from reconciler.planning.reason import Reason
from reconciler.planning.subject import Subject
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.inspection.revision_differences import Difference
    from reconciler.inspection.snapshot import HostSnapshot
    from reconciler.manifests.catalog import Catalog
    from reconciler.planning.apps.actions import Action
    from reconciler.planning.apps.app import App
    from reconciler.planning.plan import Plan
    from reconciler.planning.services.actions import Action as ServiceAction
    from reconciler.services.observer import ServiceObserver

_WAITING = frozenset({Reason.WAITING_FOR_INPUTS, Reason.WAITING_FOR_APPS})


@dataclass(frozen=True, slots=True, kw_only=True)
class AppPlan:
    """The plan for one app or service. `error` says why there is none; `wait_s` is the back-off before the next start.

    `difference` is between the wanted revision and the serving one, None if either is unknown.
    """

    subject: Subject
    plan: "Plan[Action] | Plan[ServiceAction] | None"
    error: str | None = None
    wait_s: float | None = None
    difference: "Difference | None" = None

    @property
    def is_service(self) -> bool:
        return self.subject.kind == "service"

    @property
    def actions(self) -> "tuple[Action | ServiceAction, ...]":
        """The actions of the plan; none when there is no plan."""
        return () if self.plan is None else self.plan.actions

    @property
    def is_waiting(self) -> bool:
        """True when nothing can be done now, because an input or another app is missing."""
        planned = self.plan
        return planned is not None and not self.actions and planned.reason in _WAITING and self.error is None

    @property
    def is_done(self) -> bool:
        """True when there is nothing to do, now or after a delay."""
        at_rest = self.error is None and self.wait_s is None and self.plan is not None and not self.actions
        return at_rest and not self.is_waiting


def plans_now(settings: Settings, app: str | None) -> "tuple[list[AppPlan], Catalog]":
    """Return the plans for one app or service, or for all of them, and the catalog of what is desired.

    Raises OtherVersion, PermissionError or sqlite3.Error if the state directory cannot be read.
    """
    from reconciler.inspection.snapshot import HostSnapshot

    with contextlib.ExitStack() as stack:
        known = settings.paths.database.exists()
        snapshot = stack.enter_context(contextlib.closing(HostSnapshot(settings.paths))) if known else None
        catalog = desired(settings, snapshot)
        return list(_plans(catalog, snapshot, app, settings)), catalog


def _plans(
    catalog: "Catalog", snapshot: "HostSnapshot | None", only: str | None, settings: Settings
) -> Iterator[AppPlan]:
    from reconciler.manifests import persisted

    observer = None if snapshot is None else snapshot.service_observer(settings, catalog.services, catalog.apps)
    yield from _service_plans(catalog, snapshot, observer, only)
    names = set(catalog.apps)
    if snapshot is not None:
        names |= snapshot.names - persisted.apps_of_unreadable(snapshot.records, catalog).keys()
    for name in sorted(names):
        if only in {None, name}:
            yield _app_plan(name, catalog.apps.get(name), snapshot, observer)


def _service_plans(
    catalog: "Catalog", snapshot: "HostSnapshot | None", observer: "ServiceObserver | None", only: str | None
) -> Iterator[AppPlan]:
    from reconciler.planning.services.observed import ObservedService
    from reconciler.planning.services.plan import plan

    now = time.monotonic()
    recorded = () if snapshot is None else snapshot.service_records.services()
    for name in sorted({*catalog.services, *(record.name for record in recorded)}):
        if only in {None, name}:
            wanted = {app.name: "" for app in catalog.apps.values() if name in {b.service for b in app.bindings}}
            observed = ObservedService(wanted_by=wanted) if observer is None else observer.observed(name)
            planned = plan(catalog.services.get(name), observed, now)
            yield AppPlan(subject=Subject("service", name), plan=planned, error=observed.problem)


def _app_plan(
    name: str, app: "App | None", snapshot: "HostSnapshot | None", observer: "ServiceObserver | None"
) -> AppPlan:
    from reconciler.inspection.revision_differences import difference
    from reconciler.inspection.snapshot import SourceReading, read_source
    from reconciler.planning.apps.actions import MarkGood
    from reconciler.planning.apps.observed import ExternalInputs, Observed, SourceState
    from reconciler.planning.apps.plan import plan

    reading = SourceReading(content=None)
    if app is not None and app.state == "running":
        reading = snapshot.read_source(app) if snapshot is not None else read_source(app)
        if reading.content is None:
            return AppPlan(subject=Subject("app", name), plan=None, error=reading.problem)
    if snapshot is not None:
        observed = snapshot.observed(name, app, reading.content, observer)
        needed = app.depends_on if app is not None else ()
        observed = replace(observed, unmet_dependencies=tuple(other for other in needed if not snapshot.serves(other)))
    elif app is not None and reading.content is not None:
        missing = tuple(f"service {binding.service}: it has not been created yet" for binding in app.bindings)
        source = SourceState(source=app.source, content=reading.content)
        observed = Observed(source=source, inputs=ExternalInputs(missing=missing))
    else:
        observed = Observed()
    now = time.monotonic()
    planned = plan(app, observed, now)
    waits = planned.recheck_at is not None and planned.failures > 0 and not planned.settled
    wait_s = planned.recheck_at - now if waits and planned.recheck_at is not None else None
    told = None if snapshot is None else snapshot.app_statuses.get(name)
    if told is not None and told.reason == planned.reason == Reason.WAITING_FOR_INPUTS:
        # Only the daemon reads the files of variables, and knows why one cannot be read.
        planned = replace(planned, message=told.message)
    # Marking a revision as known good is bookkeeping of the next daemon, and changes nothing for an operator.
    changes = tuple(action for action in planned.actions if not isinstance(action, MarkGood))
    return AppPlan(
        subject=Subject("app", name),
        plan=replace(planned, actions=changes),
        error=reading.problem,
        wait_s=wait_s,
        difference=difference(app, observed, planned.wanted),
    )


def facts(plans: list[AppPlan], catalog: "Catalog") -> dict[str, object]:
    """Return the plans and the problems of the manifests as JSON data."""
    return {
        "apps": [_record(each) for each in plans if not each.is_service],
        "services": [_record(each) for each in plans if each.is_service],
        "problems": [
            {"file": p.file, "line": p.line, "column": p.column, "path": p.path, "message": p.message}
            for p in problems_of(catalog)
        ],
        "notice": catalog.notice,
    }


def _record(app_plan: AppPlan) -> dict[str, object]:
    planned, unlike = app_plan.plan, app_plan.difference
    return {
        "name": app_plan.subject.name,
        "wanted_revision": planned.wanted if planned else None,
        "actions": [
            {
                "action": type(action).__name__,
                "what": str(action),
                "reason": str(action.reason),
                "cause": action.cause,
            }
            for action in app_plan.actions
        ],
        "reason": str(planned.reason) if planned else "",
        "message": planned.message if planned else "",
        "wait_seconds": app_plan.wait_s,
        "error": app_plan.error,
        "unlike_revision": unlike.before if unlike else None,
        "changes": [{"field": c.field, "before": c.before, "after": c.after} for c in unlike.changes] if unlike else [],
    }
