"""Compute what the daemon would do about each app and service, without doing it."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from reconciler.inspection.manifests import desired, problems_of, refused_by_clusters
from reconciler.inspection.missing import StagingForecast
from reconciler.inspection.start_order import awaited, with_starts
from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import HERE
from reconciler.planning.reason import HELD_BY_OPERATOR, Reason
from reconciler.planning.states import SEVERITIES
from reconciler.planning.subject import Subject
from reconciler.planning.wording import counted
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.host.revision_differences import Difference
    from reconciler.inspection.process_plans import ProcessAction
    from reconciler.inspection.snapshot import HostSnapshot
    from reconciler.inspection.source_comparison import SourceComparison
    from reconciler.manifests.catalog import Catalog
    from reconciler.planning.apps.actions import Action
    from reconciler.planning.apps.app import App
    from reconciler.planning.apps.observed import Observed
    from reconciler.planning.plan import Plan
    from reconciler.planning.services.actions import Action as ServiceAction
    from reconciler.planning.services.observed import ObservedService
    from reconciler.planning.services.service import Service
    from reconciler.services.observer import ServiceObserver
    from reconciler.state.records import AppStatus, ServiceStatus

_OF_ACTIONS = frozenset((Reason.ACTION_FAILED, Reason.NO_EFFECT))


@dataclass(frozen=True, slots=True, kw_only=True)
class AppPlan:
    """The plan for one app or service. `error` says why there is none; `wait_s` is the back-off before the next try.

    `told` is what the daemon last reported, None when none is running: only it knows what fails to be done, and what
    its probes say. `difference` is between the wanted revision and the serving one, None if either is unknown; `source`
    is between their sources, or why these cannot be compared, where that was asked for.
    `warnings` say what staging would refuse. `awaited` are the services and apps that its start waits for, if for
    nothing else, `start_follows` the same if what the plans do now brings them all. `processes` is what follows for the
    processes beside its web.
    """

    subject: Subject
    plan: "Plan[Action] | Plan[ServiceAction] | None"
    error: str | None = None
    wait_s: float | None = None
    told: "AppStatus | ServiceStatus | None" = None
    difference: "Difference | None" = None
    source: "SourceComparison | str | None" = None
    warnings: tuple[str, ...] = ()
    awaited: tuple[Subject, ...] = ()
    start_follows: tuple[Subject, ...] = ()
    processes: "tuple[ProcessAction, ...]" = ()

    @property
    def is_service(self) -> bool:
        return self.subject.kind == "service"

    @property
    def actions(self) -> "tuple[Action | ServiceAction, ...]":
        """The actions of the plan; none when there is no plan."""
        return () if self.plan is None else self.plan.actions

    @property
    def state(self) -> str:
        """The state of the app or service: as the daemon reports it, or as the plan says if that is worse or alone."""
        planned = "failing" if self.plan is None else self.plan.state
        if self.told is None or SEVERITIES[self.told.state] == "healthy":
            return planned
        return self.told.state

    @property
    def message(self) -> str:
        """What is waited for, what is wrong, or what an operator requested; empty when there is nothing to say."""
        if self.told is not None and SEVERITIES[self.told.state] != "healthy":
            return self.told.message
        if self.plan is None or self.start_follows or (self.plan.settled and not self.is_held):
            return ""
        if self.actions and self.plan.state != "pending":
            return ""
        return self.plan.message

    @property
    def is_backing_off(self) -> bool:
        """True while the first action is not tried, as it failed a moment ago: the others follow it."""
        return self.wait_s is not None and self.told is not None and self.told.reason in _OF_ACTIONS

    @property
    def is_held(self) -> bool:
        """True while a request of an operator holds instead of the manifest."""
        return self.plan is not None and self.plan.reason in HELD_BY_OPERATOR

    @property
    def is_done(self) -> bool:
        """True when there is nothing to do, now or later, nothing is waited for, and nothing is wrong."""
        if self.processes:
            return False
        at_rest = self.error is None and self.wait_s is None and self.plan is not None and self.plan.settled
        return at_rest and SEVERITIES[self.state] == "healthy"


def plans_now(settings: Settings, app: str | None, *, with_sources: bool = False) -> "tuple[list[AppPlan], Catalog]":
    """Return the plans for one app or service, or for all of them, and the catalog of what is desired.

    `with_sources` also compares the sources of apps.
    Raises OtherVersion, PermissionError or sqlite3.Error if the state directory cannot be read.
    """
    from reconciler.inspection.snapshot import HostSnapshot

    with contextlib.ExitStack() as stack:
        known = settings.paths.database.exists()
        snapshot = stack.enter_context(contextlib.closing(HostSnapshot(settings.paths))) if known else None
        catalog = desired(settings, snapshot)
        plans = plans_for(catalog, snapshot, app, settings, with_sources=with_sources)
        return plans, refused_by_clusters(settings, catalog)


def plans_for(
    catalog: "Catalog", snapshot: "HostSnapshot | None", only: str | None, settings: Settings, *, with_sources: bool
) -> list[AppPlan]:
    """Return the plans for a catalog, for one app or service or for all. Raises sqlite3.Error."""
    from reconciler.manifests import persisted

    observer = None if snapshot is None else snapshot.service_observer(settings, catalog.services, catalog.apps)
    forecast = StagingForecast(settings.interpreters)
    names = set(catalog.apps)
    if snapshot is not None:
        names |= snapshot.names - persisted.apps_of_unreadable(snapshot.records, catalog).keys()

    def app_plan(name: str) -> AppPlan:
        planned = _app_plan(name, catalog, snapshot, observer, with_sources=with_sources)
        return _with_warnings(planned, catalog.apps.get(name), forecast, str if snapshot is None else snapshot.place)

    def plan_of(subject: Subject) -> AppPlan | None:
        if subject.kind == "service":
            return next(_service_plans(catalog, snapshot, observer, settings, subject.name), None)
        return app_plan(subject.name) if subject.name in names else None

    plans = [
        *_service_plans(catalog, snapshot, observer, settings, only),
        *(app_plan(name) for name in sorted(names) if only in {None, name}),
    ]
    return list(with_starts(plans, plan_of))


def _service_plans(
    catalog: "Catalog",
    snapshot: "HostSnapshot | None",
    observer: "ServiceObserver | None",
    settings: Settings,
    only: str | None,
) -> Iterator[AppPlan]:
    from reconciler.planning.services.plan import plan

    now = time.monotonic()
    known = {} if snapshot is None or snapshot.daemon is None else snapshot.records.service_statuses()
    recorded = frozenset[str]() if snapshot is None else snapshot.service_records.names()
    for name in sorted({*catalog.services, *recorded}):
        if only in {None, name}:
            observed = observer.observed(name) if observer is not None else _unobserved(name, catalog, settings)
            planned = plan(catalog.services.get(name), observed, now)
            told = known.get(name)
            yield AppPlan(
                subject=Subject("service", name),
                plan=planned,
                error=observed.problem,
                wait_s=_wait_s(told, None, now),
                told=told,
            )


def _unobserved(name: str, catalog: "Catalog", settings: Settings) -> "ObservedService":
    """Return a service as it is where nothing was ever made: known from the manifests and the settings alone."""
    from reconciler.planning.services.observed import ObservedService

    wanted = {app.name: "" for app in catalog.apps.values() if name in {b.service for b in app.bindings}}
    return ObservedService(wanted_by=wanted, problem=_misconfigured(catalog.services.get(name), settings))


def _misconfigured(service: "Service | None", settings: Settings) -> str | None:
    """Return why no server of this host can provide a service, None if one can."""
    from reconciler.services.provisioner import Misconfigured
    from reconciler.services.server_choice import server_name

    try:
        if service is not None:
            server_name(service, settings)
    except Misconfigured as error:
        return str(error)
    return None


def _app_plan(
    name: str,
    catalog: "Catalog",
    snapshot: "HostSnapshot | None",
    observer: "ServiceObserver | None",
    *,
    with_sources: bool,
) -> AppPlan:
    from reconciler.host.revision_differences import difference
    from reconciler.inspection.source_readings import SourceReading, read_source
    from reconciler.planning.apps.actions import MarkGood
    from reconciler.planning.apps.observed import ExternalInputs, Observed, SourceState
    from reconciler.planning.apps.plan import plan

    app = catalog.apps.get(name)
    needed = () if app is None else app.depends_on
    reading = SourceReading(content=None)
    if app is not None and app.state == "running":
        reading = snapshot.read_source(app) if snapshot is not None else read_source(app)
        if reading.content is None:
            return AppPlan(subject=Subject("app", name), plan=None, error=reading.problem)
    if snapshot is not None:
        observed = snapshot.observed(name, app, reading.content, observer)
        observed = replace(observed, unmet_dependencies=tuple(other for other in needed if not snapshot.serves(other)))
    elif app is not None and reading.content is not None:
        missing = tuple(f"service {binding.service}: it has not been created yet" for binding in app.bindings)
        source = SourceState(source=app.source, content=reading.content)
        observed = Observed(source=source, inputs=ExternalInputs(missing=missing), unmet_dependencies=needed)
    else:
        observed = Observed()
    unknown = tuple(other for other in needed if other not in catalog.apps)
    now = time.monotonic()
    planned = plan(app, replace(observed, unknown_dependencies=unknown), now)
    told = None if snapshot is None else snapshot.app_statuses.get(name)
    if told is not None and told.reason == planned.reason == Reason.WAITING_FOR_INPUTS:
        # Only the daemon reads the files of variables, and knows why one cannot be read.
        planned = replace(planned, message=told.message)
    # Marking a revision as known good is bookkeeping of the next daemon, and changes nothing for an operator.
    changes = tuple(action for action in planned.actions if not isinstance(action, MarkGood))
    settled = planned.settled or (planned.state == "running" and bool(planned.actions) and not changes)
    reported = None if snapshot is None or snapshot.daemon is None else told
    processes: tuple[ProcessAction, ...] = ()
    if (app is not None and app.processes) or (snapshot is not None and snapshot.processes.get(name)):
        from reconciler.inspection.process_plans import process_actions  # most apps have none

        processes = tuple(process_actions(name, app, observed, planned, snapshot, now))
    if app is not None and app.place != HERE and changes:
        from reconciler.inspection.process_plans import in_cluster

        processes = (*processes, in_cluster(app.place, planned))
    return AppPlan(
        subject=Subject("app", name),
        plan=replace(planned, actions=changes, settled=settled),
        error=reading.problem,
        wait_s=_wait_s(reported, planned.retry_at, now),
        told=reported,
        difference=difference(app, observed, planned.wanted),
        source=_source(app, observed, snapshot) if with_sources else None,
        awaited=awaited(app, observed, planned),
        processes=processes,
    )


def _source(
    app: "App | None", observed: "Observed", snapshot: "HostSnapshot | None"
) -> "SourceComparison | str | None":
    from reconciler.inspection.source_comparison import source_comparison

    if app is None or snapshot is None:
        return None
    known = snapshot.env_files.known_paths(app.name)
    return source_comparison(snapshot.paths, app, observed, known, snapshot.place)


def _with_warnings(
    app_plan: AppPlan, app: "App | None", forecast: StagingForecast, place: Callable[[str], str]
) -> AppPlan:
    """Return the plan of an app with what staging would refuse, if it has to be staged."""
    from reconciler.planning.apps.actions import Stage

    if app is None or not any(isinstance(action, Stage) for action in app_plan.actions):
        return app_plan
    there = replace(app, source=replace(app.source, path=place(app.source.path)))
    return replace(app_plan, warnings=tuple(message for _, message in forecast.of(there)))


def _wait_s(told: "AppStatus | ServiceStatus | None", retry_at: float | None, now: float) -> float | None:
    """Return the seconds until what failed is tried again: as planned, or as the daemon says of an action."""
    if retry_at is not None:
        return retry_at - now
    if told is None or told.next_try_at is None:
        return None
    left_s = told.next_try_at - time.time()  # noqa: TID251  both are for people
    return left_s if left_s > 0 else None


def summary(plans: Sequence[AppPlan], catalog: "Catalog") -> str:
    """Sum up the plans in one line. "Nothing to do" is said when nothing is waited for and nothing is wrong."""
    refused = sum(bool(entry.problems) for entry in catalog.files.values())
    parts = [*_parts(plans), *([f"{counted(refused, 'manifest')} refused"] if refused else [])]
    is_done = all(each.is_done for each in plans) and not refused and not catalog.notice
    if not parts:
        return "nothing to do: no manifests, and no apps left to remove" if is_done else "no app is known"
    return f"{'nothing to do: ' if is_done else ''}{', '.join(parts)}"


def _parts(plans: Sequence[AppPlan]) -> Iterator[str]:
    with_services = any(each.is_service for each in plans)
    actions = sum(len(each.actions) + len(each.processes) for each in plans)
    if actions:
        yield f"{counted(actions, 'action')} for {_counted(sum(map(_is_busy, plans)), with_services)}"
    # One with actions is under way; that something is wrong with it is said as well.
    left = [
        each
        for each in plans
        if not (each.actions or each.processes) or SEVERITIES[each.state] in {"failing", "degraded"}
    ]
    up_to_date = sum(each.is_done and not each.is_held for each in left)
    if up_to_date:
        only = up_to_date == len(plans)
        yield f"{_counted(up_to_date, with_services) if only else up_to_date} up to date"
    words = Counter(_word(each) for each in left if not each.is_done or each.is_held)
    yield from (f"{number} {word}" for word, number in words.items())


def _is_busy(app_plan: AppPlan) -> bool:
    return bool(app_plan.actions or app_plan.processes)


def _word(app_plan: AppPlan) -> str:
    """Say in a word or two why an app or service without actions is not simply up to date."""
    if app_plan.error is not None:
        return "failing" if app_plan.is_service else "with an unreadable source"
    if app_plan.wait_s is not None:
        return "waiting to retry"
    if app_plan.state == "pending":
        return "waiting"
    if app_plan.is_held and app_plan.is_done:
        return "held by an operator"
    return app_plan.state


def _counted(number: int, with_services: bool) -> str:
    if not with_services:
        return counted(number, "app")
    return f"{number} app or service" if number == 1 else f"{number} apps and services"


def exit_code(plans: Sequence[AppPlan], catalog: "Catalog") -> int:
    """Return 0 when there is nothing to do, 1 when a manifest or a source is wrong, and 2 otherwise."""
    if catalog.notice or any(problems_of(catalog)) or any(each.error for each in plans):
        return 1
    return 0 if all(each.is_done for each in plans) else 2


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
    planned, unlike, source = app_plan.plan, app_plan.difference, app_plan.source
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
        "processes": [asdict(each) for each in app_plan.processes],
        "reason": str(planned.reason) if planned else "",
        "message": app_plan.message or (planned.message if planned else ""),
        "state": app_plan.state,
        "done": app_plan.is_done,
        "wait_seconds": app_plan.wait_s,
        "error": app_plan.error,
        "warnings": [*app_plan.warnings],
        "start_follows": [str(each) for each in app_plan.start_follows],
        "unlike_revision": unlike.before if unlike else None,
        "changes": [{"field": c.field, "before": c.before, "after": c.after} for c in unlike.changes] if unlike else [],
        "files": None if source is None or isinstance(source, str) else asdict(source.difference),
    }
