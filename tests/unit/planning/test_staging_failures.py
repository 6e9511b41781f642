"""Plans after a build could not be made: what is held back, until when, and what serves meanwhile."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.apps.actions import Stage, Start
from reconciler.planning.apps.observed import Failure, Observed, SleepState
from reconciler.planning.apps.plan import plan
from reconciler.planning.apps.retry import Retry
from reconciler.planning.outcome import app_outcome
from reconciler.planning.reason import Reason
from tests.support.plans import APP, LATER, LAZY, V1, V2, deployed, lines, planned
from tests.support.stories import Running, running_apps
from tests.world import NOW, a_look, a_trouble, after, failed, serving

WHY = "cannot stage blog: no such package"
EDIT = "only an edit can fix this: tried again after one or 'reconciler restart blog'"
PASSES = "this may pass without an edit: tried again by itself"
CAP_S = APP.crash.cap_s


def unstaged(retry: Retry = "soon", *, last_at: float = NOW - 0.5, **different: Any) -> Failure:
    usual = a_trouble(V1, phase="staging", reason=WHY, last_at=last_at, workers=1, retry=retry)
    return replace(usual, **different)


def unmade(failure: Failure, **different: Any) -> Observed:
    """An app whose first build could not be made; its listener is open."""
    listening = Observed(source=a_look(APP), listeners=frozenset({V1.address} if V1.address else ()), has_residue=True)
    return replace(listening, failures=(failure,), **different)


def test_what_cannot_happen_now_is_not_in_the_plan_and_it_says_why_and_until_when() -> None:
    decided = plan(APP, unmade(unstaged()), NOW)
    assert decided.actions == ()
    assert (decided.state, decided.reason, decided.message) == ("failing", Reason.STAGING_FAILED, f"{WHY}; {PASSES}")
    assert decided.retry_at is not None
    assert decided.recheck_at == decided.retry_at
    assert planned(APP, unmade(unstaged()), now=decided.retry_at) == lines("""
        stage build b1: first build of the app
        start revision v1: the app was not running
    """)


@pytest.mark.parametrize(("count", "least_s", "most_s"), [(1, 0.75, 1.25), (2, 1.5, 2.5), (4, 6.0, 10.0), (40, 45, 75)])
def test_what_the_host_can_end_by_itself_is_tried_again_with_growing_delays(
    count: int, least_s: float, most_s: float
) -> None:
    again_at = plan(APP, unmade(unstaged(last_at=NOW, count=count)), NOW).retry_at
    assert again_at is not None
    assert least_s <= again_at - NOW <= most_s


@pytest.mark.parametrize("count", [1, 2, 40])
def test_what_an_index_may_get_is_tried_again_at_the_longest_delay_from_the_first(count: int) -> None:
    decided = plan(APP, unmade(unstaged("later", last_at=NOW, count=count)), NOW)
    assert decided.retry_at is not None
    assert CAP_S * 0.75 <= decided.retry_at - NOW <= CAP_S * 1.25
    assert decided.message.endswith(f"{WHY}; {PASSES}")


def test_what_only_an_edit_can_fix_is_tried_once() -> None:
    held = unmade(unstaged("never"))
    decided = plan(APP, held, LATER)
    assert (decided.first, decided.retry_at, decided.withheld) == (None, None, True)
    assert (decided.state, decided.message) == ("failing", f"{WHY}; {EDIT}")
    assert not plan(APP, unmade(unstaged()), NOW).withheld
    assert app_outcome(APP, decided, held, LATER) == "failed"


def test_an_edit_or_a_request_of_an_operator_ends_that_at_once() -> None:
    held = unmade(unstaged("never"))
    for seen in (
        replace(held, source=a_look(APP, "c2")),
        replace(held, restart_before=NOW - 0.1),
        replace(held, failures=()),  # as forget-failure leaves it
    ):
        assert isinstance(plan(APP, seen, NOW).first, Stage)
    assert isinstance(plan(replace(APP, env={"A": "1"}), held, NOW).first, Stage)


def test_a_request_that_came_before_it_failed_is_done() -> None:
    assert plan(APP, unmade(unstaged("never"), restart_before=NOW - 5), LATER).first is None


def test_what_serves_keeps_serving() -> None:
    failure = replace(unstaged("never"), revision=V2.id)
    decided = plan(APP, deployed(failure, builds=(V1.build.id,)), NOW)
    text = f"revision {V2.id} failed: {WHY}; revision {V1.id} serves; {EDIT}"
    assert (decided.actions, decided.state, decided.message) == ((), "degraded", text)
    again = plan(APP, deployed(replace(failure, retry="soon"), builds=(V1.build.id,)), LATER)
    assert isinstance(again.first, Stage)
    assert (again.state, again.message) == ("degraded", f"revision {V2.id} failed: {WHY}; revision {V1.id} serves")


def test_what_serves_from_a_build_that_is_gone_is_degraded_until_it_is_made_again() -> None:
    lost = serving(APP, builds=(), failures=(unstaged(kind="crashed"),))
    decided = plan(APP, lost, NOW)
    assert (decided.actions, decided.state, decided.message) == ((), "degraded", f"{WHY}; {PASSES}")
    assert decided.recheck_at is not None
    assert isinstance(plan(APP, lost, decided.recheck_at).first, Stage)


def test_an_app_that_sleeps_does_not_hide_it() -> None:
    for app, seen in (
        (LAZY, unmade(unstaged("never"))),
        (LAZY, unmade(unstaged("never"), sleep_state=SleepState(gate_passed=V2.id))),
    ):
        failure = replace(unstaged("never"), revision=app.revision("c1").id)
        decided = plan(app, replace(seen, failures=(failure,)), NOW)
        assert (decided.actions, decided.state, decided.message) == ((), "failing", f"{WHY}; {EDIT}")


def test_an_app_that_waits_for_its_inputs_does_not_hide_it() -> None:
    inputs = replace(Observed().inputs, missing=("service db: it is not there yet",))
    decided = plan(APP, unmade(unstaged("never"), inputs=inputs), NOW)
    assert (decided.actions, decided.state) == ((), "failing")
    assert decided.message == f"{WHY}; {EDIT}; waiting: service db: it is not there yet"
    waiting = unmade(unstaged(), inputs=inputs)
    again_at = plan(APP, waiting, NOW).recheck_at
    assert again_at is not None
    assert isinstance(plan(APP, waiting, again_at).first, Stage)


def test_while_it_is_tried_again_the_failure_stays_visible() -> None:
    decided = plan(APP, unmade(unstaged(count=3)), LATER)
    assert isinstance(decided.first, Stage)
    assert (decided.first.attempt, decided.state) == (4, "failing")
    assert decided.message == f"failed 3 times in a row, most recently: {WHY}"


def test_once_the_build_is_made_it_is_forgotten() -> None:
    seen = unmade(unstaged(count=3))
    stage = plan(APP, seen, LATER).first
    assert isinstance(stage, Stage)
    made = after(seen, stage, LATER)
    assert made.failures == ()
    assert planned(APP, made, now=LATER) == "start revision v1: the app was not running"
    assert planned(APP, replace(made, failures=seen.failures), now=LATER) == (
        "start revision v1: the app was not running"
    )


def test_a_build_that_was_made_since_does_not_delay_the_revision_to_fall_back_to() -> None:
    rejected = a_trouble(V2, phase="starting", last_at=NOW)
    fallen = Observed(
        source=a_look(APP, "c2"),
        listeners=frozenset({V1.address} if V1.address else ()),
        builds=(V1.build.id, V2.build.id),
        known_good=(V1,),
        failures=(rejected, unstaged("later", kind="crashed", last_at=NOW)),
    )
    first = plan(APP, fallen, NOW).first
    assert isinstance(first, Start)
    assert first.revision == V1
    unmade_again = plan(APP, replace(fallen, builds=(V2.build.id,)), NOW).first
    assert not isinstance(unmade_again, Start) or unmade_again.revision != V1


@given(running_apps(), st.floats(min_value=0, max_value=1e6))
def test_a_build_that_only_an_edit_can_fix_is_never_made_again_by_itself(running: Running, seconds: float) -> None:
    app, seen = running
    if seen.source is None or seen.source.stale or seen.source.source != app.source:
        return
    build = app.build(seen.source.content)
    others = tuple(other for other in seen.builds if other != build.id)
    seen = replace(seen, builds=others, restart_before=float("-inf"), override=None)
    stages = [action for action in plan(app, seen, NOW).actions if isinstance(action, Stage)]
    for stage in stages:
        seen = failed(seen, stage, NOW, WHY, "never")
    later = plan(app, seen, NOW + seconds)
    assert not stages or not any(isinstance(action, Stage) for action in later.actions)
