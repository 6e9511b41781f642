"""A canary of an app whose number of workers is chosen by need: neither disturbs the other."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.apps.actions import RecordFailure, Scale, Start, Stop
from reconciler.planning.apps.observed import Observed
from reconciler.planning.apps.plan import plan
from reconciler.planning.canary.actions import WeighCanary
from reconciler.planning.canary.canary import Canary, Split
from reconciler.planning.scaling.observed import ScalingState
from reconciler.planning.scaling.scale import Decision
from reconciler.planning.scaling.worker_range import WorkerRange
from tests.support.plans import APP, B1, B2, V1, V2
from tests.world import ADDRESS, NOW, a_look, after, an_instance, serving

RANGED = replace(APP, worker_range=WorkerRange(least=1, most=8), canary=Canary(share=(50, 500)))


def decided(workers: int) -> ScalingState:
    return ScalingState(decision=Decision(workers=workers, cause="requests wait"))


def on_trial(old: int, new: int, *, asked: int, weight: int = 50, step: int = 0, **different: Any) -> Observed:
    """What is true while a canary is under way, of an app whose load asks for so many workers."""
    split = Split(address=ADDRESS, revision=V2.id, weight=weight, step=step, since=NOW - 60)
    return replace(
        serving(RANGED),
        source=a_look(RANGED, "c2"),
        builds=(B1.id, B2.id),
        instances=(an_instance(V1, "i1", workers=old), an_instance(V2, "i2", workers=new)),
        split=replace(split, **different),
        scaling=decided(asked),
    )


def test_more_workers_come_to_both_by_their_shares_and_the_weights_stay() -> None:
    actions = plan(RANGED, on_trial(2, 1, asked=6, weight=500, step=1), NOW).actions
    assert [(a.instance, a.workers) for a in actions if isinstance(a, Scale)] == [("i2", 3), ("i1", 6)]
    assert not any(isinstance(action, WeighCanary) for action in actions)


def test_no_worker_is_taken_from_either_as_long_as_there_are_two() -> None:
    assert plan(RANGED, on_trial(6, 3, asked=1), NOW).actions == ()


def test_a_canary_that_starts_keeps_its_number_whatever_the_load_asks_for_meanwhile() -> None:
    beginning = on_trial(2, 1, asked=2, weight=0, step=-1)
    beginning = replace(beginning, instances=(*beginning.instances[:1], an_instance(V2, "i2", ready_at=None)))
    for asked in (2, 8):
        first = plan(RANGED, replace(beginning, scaling=decided(asked)), NOW).first
        assert isinstance(first, Start)
        assert first.workers == 1


def test_it_has_every_worker_that_the_load_asks_for_before_it_gets_every_connection() -> None:
    actions = plan(RANGED, on_trial(6, 3, asked=6, weight=500, step=1, promoted=True), NOW).actions
    assert [type(action) for action in actions[:2]] == [Scale, WeighCanary]
    assert isinstance(actions[0], Scale)
    assert actions[0].workers == 6


@given(numbers=st.lists(st.integers(min_value=1, max_value=8), min_size=1, max_size=6))
def test_one_that_was_aborted_is_not_tried_again_whatever_number_the_load_asks_for(numbers: list[int]) -> None:
    observed, asked = on_trial(2, 1, asked=2, harm="it is slower"), iter(numbers)
    while (first := plan(RANGED, observed, NOW).first) is not None:
        assert isinstance(first, RecordFailure | Stop | Scale) or "revision" in str(first) or "listeners" in str(first)
        observed = replace(after(observed, first, NOW), scaling=decided(next(asked, numbers[-1])))
    assert [instance.revision for instance in observed.alive] == [V1.id]
    for number in numbers:
        later = plan(RANGED, replace(observed, scaling=decided(number)), NOW + 1e6)
        assert not any(isinstance(action, Start) for action in later.actions)
        assert "tried again after an edit" in later.message


@given(numbers=st.lists(st.integers(min_value=1, max_value=8), min_size=1, max_size=12), edit=st.booleans())
def test_there_are_never_three_revisions(numbers: list[int], edit: bool) -> None:
    observed = replace(serving(RANGED), source=a_look(RANGED, "c2"), builds=(B1.id, B2.id), scaling=decided(numbers[0]))
    now = NOW
    for number in numbers * 4:
        first = plan(RANGED, observed, now).first
        if first is not None:
            observed = after(observed, first, now)
        if edit and number == max(numbers):
            observed = replace(observed, source=a_look(RANGED, f"c{number + 2}"))
        observed = replace(observed, scaling=decided(number))
        assert len({instance.revision for instance in observed.alive}) <= 2
        now += 400.0
