"""The number of workers of an app with a range: what its load asks for, by scaling in place and never by a deploy."""

from dataclasses import replace

import pytest

from reconciler.planning.apps.actions import RecordFailure, Scale, Start
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import HeldWorkers, SleepState
from reconciler.planning.apps.plan import plan
from reconciler.planning.apps.worker_number import asked_workers
from reconciler.planning.outcome import app_outcome
from reconciler.planning.reason import Reason
from reconciler.planning.scaling.observed import ScalingState
from reconciler.planning.scaling.scale import Decision
from reconciler.planning.scaling.worker_range import WorkerRange
from tests.support.plans import APP, B1, B2, V1, V2, planned
from tests.world import NOW, a_look, a_trouble, an_instance, serving

RANGED = replace(APP, worker_range=WorkerRange(least=1, most=8))
SIX = ScalingState(decision=Decision(workers=6, cause="requests wait 120 ms (queue 9), 3.8 of 4 busy"))


def test_what_the_load_asks_for_is_scaled_to_with_its_cause() -> None:
    assert planned(RANGED, serving(RANGED, scaling=SIX)) == (
        "scale instance i1 to 6 workers: requests wait 120 ms (queue 9), 3.8 of 4 busy"
    )


def test_without_a_decision_what_a_new_daemon_finds_stays_but_for_what_the_range_forbids() -> None:
    found = serving(RANGED, instances=(an_instance(V1, workers=5),))
    assert plan(RANGED, found, NOW).actions == ()
    narrow = replace(RANGED, worker_range=WorkerRange(least=1, most=3))
    assert planned(narrow, found) == "scale instance i1 to 3 workers: 3 workers desired, 5 running"


def test_a_deploy_starts_with_the_number_that_there_is_and_not_with_the_least() -> None:
    changed = replace(RANGED, env={"LOG_LEVEL": "debug"})
    for state in (None, SIX):
        decided = plan(changed, serving(RANGED, instances=(an_instance(V1, workers=6),), scaling=state), NOW)
        assert isinstance(decided.first, Start)
        assert decided.first.workers == 6


def test_an_instance_that_starts_keeps_its_number_until_it_serves() -> None:
    starting = an_instance(V1, ready_at=None, workers=2)
    decided = plan(RANGED, serving(RANGED, instances=(starting,), scaling=SIX), NOW)
    assert isinstance(decided.first, Start)
    assert decided.first.workers == 2


def test_no_worker_goes_on_probation_or_while_an_instance_takes_over_and_more_may_come() -> None:
    one = ScalingState(decision=Decision(workers=1))
    young = serving(RANGED, instances=(an_instance(V1, workers=4, ready_at=NOW - 1),), known_good=(), scaling=one)
    assert not any(isinstance(each, Scale) for each in plan(RANGED, young, NOW).actions)
    more = replace(young, scaling=SIX)
    assert any(isinstance(each, Scale) for each in plan(RANGED, more, NOW).actions)


def test_what_failed_with_another_number_of_workers_is_not_tried_sooner() -> None:
    trouble = a_trouble(V1, count=5, workers=0)
    for state in (None, SIX):
        decided = plan(RANGED, serving(RANGED, instances=(), failures=(trouble,), known_good=(), scaling=state), NOW)
        assert decided.actions == ()
        assert decided.retry_at is not None
        assert decided.retry_at > NOW


def test_a_saturated_app_runs_and_says_what_the_limit_is() -> None:
    state = ScalingState(decision=Decision(workers=8), saturated="waiting, not computing (database?)")
    decided = plan(RANGED, serving(RANGED, instances=(an_instance(V1, workers=8),), scaling=state), NOW)
    assert (decided.state, decided.reason, decided.settled) == ("running", Reason.SATURATED, True)
    assert decided.message == "saturated: waiting, not computing (database?)"


FIVE = HeldWorkers(workers=5, holds_for="1-4", for_s=7200.0, until=NOW + 60)
NARROW = replace(APP, worker_range=WorkerRange(least=1, most=4))


@pytest.mark.parametrize("app", [NARROW, APP], ids=asked_workers)
def test_the_number_of_an_operator_holds_outside_the_range_and_without_one_until_its_time_is_over(app: App) -> None:
    held = replace(FIVE, holds_for=asked_workers(app))
    found = serving(app, held_workers=held, scaling=SIX if app is NARROW else None)
    assert planned(app, found) == "scale instance i1 to 5 workers: 5 workers for 2h, as an operator asked"
    reached = replace(found, instances=(an_instance(V1, workers=5),))
    decided = plan(app, reached, NOW)
    assert (decided.actions, decided.state, decided.reason) == ((), "running", Reason.SCALED_BY_OPERATOR)
    assert decided.message == f"5 workers for 2h, as an operator asked; its manifest says {asked_workers(app)}"
    assert decided.recheck_at == held.until
    assert app_outcome(app, decided, reached, NOW) == "up-to-date"
    (back,) = plan(app, reached, NOW + 60).actions
    assert isinstance(back, Scale)
    assert back.workers == (4 if app is NARROW else 1)
    assert back.cause == "the 2h for which an operator asked for 5 workers are over"
    assert plan(app, replace(reached, instances=(an_instance(V1, workers=back.workers),)), NOW + 60).message == ""


def test_the_number_of_an_operator_outlives_a_deploy_and_not_a_change_of_the_workers_of_the_manifest() -> None:
    found = serving(NARROW, instances=(an_instance(V1, workers=5),), held_workers=replace(FIVE, until=None, for_s=None))
    deployed = plan(replace(NARROW, env={"LOG_LEVEL": "debug"}), found, NOW)
    assert isinstance(deployed.first, Start)
    assert deployed.first.workers == 5
    (edited,) = plan(replace(NARROW, worker_range=WorkerRange(least=1, most=2)), found, NOW).actions
    assert isinstance(edited, Scale)
    assert (edited.workers, edited.cause) == (2, "2 workers desired, 5 running")


def test_a_failure_with_the_number_of_an_operator_is_one_of_what_is_desired() -> None:
    trouble = a_trouble(V1, kind="rejected", workers=1)
    found = serving(APP, instances=(), failures=(trouble,), known_good=(), held_workers=replace(FIVE, holds_for="1"))
    for held in (found.held_workers, None):
        assert app_outcome(APP, plan(APP, found, NOW), replace(found, held_workers=held), NOW) == "failed"


def test_what_failed_its_clients_is_not_tried_again_because_an_operator_asks_for_another_number_or_that_is_over() -> (
    None
):
    held = replace(FIVE, holds_for="1")
    old, new = an_instance(V1, workers=5), an_instance(V2, "i2", workers=5, workers_died=1, ready_at=NOW - 1)
    failed = serving(APP, source=a_look(APP, "c2"), builds=(B1.id, B2.id), instances=(old, new), held_workers=held)
    (recorded,) = (action for action in plan(APP, failed, NOW).actions if isinstance(action, RecordFailure))
    assert recorded.failure.workers == 1
    after_it = replace(failed, instances=(old,), failures=(replace(recorded.failure, phase="serving"),))
    for number in (held, replace(held, workers=8), None):
        later = plan(APP, replace(after_it, held_workers=number), NOW + 30)
        assert not any(isinstance(action, Start) for action in later.actions)
        assert "tried again after an edit" in later.message


def test_an_app_that_wakes_starts_with_as_many_workers_as_what_waits_asks_for_and_not_with_those_of_before() -> None:
    sleepy = replace(RANGED, idle_after_s=60.0)
    asleep = SleepState(gate_passed=V1.id)
    awake = replace(asleep, activated_at=NOW)
    before = replace(SIX, decided_at=NOW - 100)

    def started(state: ScalingState | None, sleep_state: SleepState) -> int | None:
        found = serving(sleepy, instances=(), scaling=state, sleep_state=sleep_state)
        first = plan(sleepy, found, NOW).first
        return first.workers if isinstance(first, Start) else None

    assert started(before, asleep) is None
    assert started(replace(before, at_door=4), awake) == 4
    assert started(replace(before, at_door=99), awake) == 8
    assert started(before, awake) == 1
    assert started(ScalingState(at_door=3), awake) == 3
    assert started(replace(SIX, decided_at=NOW + 1), awake) == 6  # it exited after that
