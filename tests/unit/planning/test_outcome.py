"""The outcome of an app or a service, as a client that waits for it is told."""

from dataclasses import replace
from typing import Any

import pytest

from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import ExternalInputs, Observed, Override
from reconciler.planning.apps.plan import plan
from reconciler.planning.outcome import app_outcome, probation_left_s, service_outcome
from reconciler.planning.plan import Plan
from reconciler.planning.reason import Reason
from tests.support.plans import APP, B1, V1, V2
from tests.world import NOW, a_look, a_trouble, serving


def outcome(observed: Observed, app: App | None = APP) -> str:
    return app_outcome(app, plan(app, observed, NOW), observed, NOW)


def trouble(**different: Any) -> Observed:
    """V1 serves, V2 is desired and has failed."""
    failure = a_trouble(V2, **different)
    return replace(serving(APP), source=a_look(APP, "c2"), failures=(failure,), builds=("b1", "b2"))


def test_an_app_that_serves_as_desired_is_up_to_date_once_its_probation_is_over() -> None:
    known = replace(serving(APP), known_good=(V1,))
    assert outcome(known) == "up-to-date"
    (instance,) = known.instances
    new = replace(known, known_good=(), instances=(replace(instance, ready_at=NOW - 1),))
    assert outcome(new) == "on-probation"
    assert probation_left_s(APP, plan(APP, new, NOW), new, NOW) == APP.probation_s - 1


def test_a_change_that_was_noticed_is_under_way() -> None:
    assert outcome(Observed()) == "under-way"
    assert outcome(replace(serving(APP), source=a_look(APP, "c2"))) == "under-way"
    assert outcome(replace(serving(APP), source=a_look(APP, stale=True))) == "under-way"


def test_a_revision_that_was_rejected_has_failed_also_while_it_is_tried_again() -> None:
    assert outcome(trouble(last_at=NOW)) == "failed"
    assert outcome(trouble(last_at=NOW - 1000, count=1)) == "failed"
    assert outcome(replace(trouble(last_at=NOW - 1000), instances=())) == "failed"


def test_what_failed_before_a_restart_was_requested_is_tried_once_more() -> None:
    assert outcome(replace(trouble(last_at=NOW - 1000), restart_before=NOW - 1)) == "under-way"


def test_a_known_good_revision_that_crashed_once_is_under_way_and_one_that_keeps_crashing_has_failed() -> None:
    down = replace(serving(APP), instances=(), known_good=(V1,))
    once = replace(down, failures=(a_trouble(V1, kind="crashed", last_at=NOW),))
    assert outcome(once) == "under-way"
    assert outcome(replace(down, failures=(a_trouble(V1, kind="crashed", count=3, last_at=NOW),))) == "failed"


def test_a_revision_that_was_not_tried_yet_is_under_way_also_while_an_earlier_one_has_to_serve_first() -> None:
    down = replace(serving(APP), source=a_look(APP, "c2"), instances=(), known_good=(V1,), builds=(B1.id,))
    assert plan(APP, down, NOW).reason is Reason.FALLEN_BACK
    assert outcome(down) == "under-way"


def test_a_failure_of_another_revision_does_not_count() -> None:
    assert outcome(replace(serving(APP), known_good=(V1,), failures=(a_trouble(V2, last_at=NOW),))) == "up-to-date"


def test_a_stop_or_a_rollback_by_an_operator_is_not_what_the_manifest_asks_for() -> None:
    for kind in ("stopped", "maintenance"):
        held = replace(serving(APP), override=Override(kind=kind, holds_for=APP.fingerprint))
        assert outcome(held) == "held"
    desired = replace(serving(APP), source=a_look(APP, "c2"), known_good=(V1,))
    assert outcome(replace(desired, override=Override(kind="rolled back", holds_for=V2.id, revision=V1))) == "held"


def test_what_is_missing_is_waited_for_and_what_nothing_describes_is_not() -> None:
    waiting = Observed(source=a_look(APP), inputs=ExternalInputs(missing=("KEY: no such file",)))
    assert outcome(waiting) == "under-way"
    assert outcome(replace(waiting, inputs=replace(waiting.inputs, failures=2))) == "failed"
    needed = Observed(source=a_look(APP), builds=("b1",), unmet_dependencies=("api",))
    assert outcome(needed) == "under-way"
    assert outcome(replace(needed, unknown_dependencies=("api",))) == "failed"


@pytest.mark.parametrize("state", ["stopped", "maintenance"])
def test_an_app_that_is_not_to_serve_is_up_to_date_once_nothing_is_left_to_do(state: Any) -> None:
    app = replace(APP, state=state)
    assert outcome(serving(APP), app) == "under-way"
    at_rest = Observed(listeners=frozenset((APP.address,)) if state == "maintenance" and APP.address else frozenset())
    assert outcome(at_rest, app) == "up-to-date"


def test_an_app_whose_manifest_is_gone_is_waited_for_until_nothing_is_left_of_it() -> None:
    assert outcome(serving(APP), None) == "under-way"
    assert outcome(Observed(), None) == "up-to-date"


@pytest.mark.parametrize(
    ("planned", "expected"),
    [
        (Plan(actions=(), state="ready", settled=True), "up-to-date"),
        (Plan(actions=(), state="failing"), "failed"),
        (Plan(actions=(), state="starting"), "under-way"),
        (Plan(actions=(), state="stopping", reason=Reason.GRACE_PERIOD), "up-to-date"),
        (Plan(actions=(), state="stopping", reason=Reason.MANIFEST_REMOVED), "under-way"),
    ],
)
def test_a_service_is_up_to_date_when_it_works_or_when_what_it_holds_is_kept(planned: Plan[Any], expected: str) -> None:
    assert service_outcome(planned) == expected
