"""Tell which starts follow a plan: of apps that wait only for services and apps which the same plan brings."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.planning.reason import Reason
from reconciler.planning.subject import Subject

if TYPE_CHECKING:
    from reconciler.inspection.plans import AppPlan
    from reconciler.planning.apps.actions import Action
    from reconciler.planning.apps.app import App
    from reconciler.planning.apps.observed import Observed
    from reconciler.planning.plan import Plan


def awaited(app: "App | None", observed: "Observed", planned: "Plan[Action]") -> tuple[Subject, ...]:
    """Return what a start waits for, empty if it is not due or waits for more than services and apps."""
    if app is None or planned.state != "pending":
        return ()
    if planned.reason not in {Reason.WAITING_FOR_INPUTS, Reason.WAITING_FOR_APPS}:
        return ()
    bound = {each.service for each in observed.inputs.bound}
    services = [each.service for each in app.bindings if each.service not in bound]
    if len(services) != len(observed.inputs.missing):
        return ()
    apps = (Subject("app", other) for other in observed.unmet_dependencies)
    return (*(Subject("service", service) for service in services), *apps)


def with_starts(plans: list["AppPlan"], plan_of: "Callable[[Subject], AppPlan | None]") -> Iterator["AppPlan"]:
    """Yield the plans, those of apps whose start follows with what it follows; `plan_of` plans what is not in them."""
    known: dict[Subject, AppPlan | None] = {each.subject: each for each in plans}

    def comes(subject: Subject, seen: frozenset[Subject]) -> bool:
        """Return whether what is due now leads to a service that can be used, or an app that serves."""
        if subject in seen:
            return False
        if subject not in known:
            known[subject] = plan_of(subject)
        found = known[subject]
        if found is None or found.plan is None or found.error or found.warnings:
            return False
        if found.wait_s is not None or found.state == "failing":
            return False
        if found.awaited:
            return all(comes(each, seen | {subject}) for each in found.awaited)
        return bool(found.actions) and found.plan.state in {"staging", "starting"}

    for each in plans:
        follows = each.awaited and all(comes(one, frozenset({each.subject})) for one in each.awaited)
        yield replace(each, start_follows=each.awaited) if follows else each
