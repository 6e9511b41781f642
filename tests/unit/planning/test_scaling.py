"""The number of workers: changed in place, never a deploy, and no part of what failed or what is good."""

from dataclasses import replace

import pytest

from reconciler.planning.apps.actions import MarkGood, RemoveBuild, Scale, Sleep, Stage, Start
from reconciler.planning.apps.observed import ExternalInputs, Override, SleepState
from reconciler.planning.apps.plan import plan
from reconciler.planning.apps.revision import Server
from reconciler.planning.reason import Reason
from tests.support.plans import APP, BOTH, DOOR_2, V1, V2, dead, deployed, lines, planned
from tests.world import NOW, a_look, a_trouble, after, an_app, an_instance, serving

THREE = replace(APP, server=Server(workers=3))


def test_another_number_of_workers_scales_the_instance_and_nothing_else() -> None:
    decided = plan(THREE, serving(APP), NOW)
    assert planned(THREE, serving(APP)) == "scale instance i1 to 3 workers: 3 workers desired, 1 running"
    assert (decided.state, decided.reason, decided.settled) == ("running", Reason.SCALING, False)
    assert (decided.message, decided.wanted) == ("scaling from 1 to 3 workers", V1.id)
    assert decided.first is not None
    scaled = plan(THREE, after(serving(APP), decided.first, NOW), NOW)
    assert (scaled.actions, scaled.state, scaled.reason, scaled.settled) == ((), "running", Reason.NONE, True)


def test_fewer_workers_are_scaled_to_as_well() -> None:
    assert planned(APP, serving(THREE)) == "scale instance i1 to 1 worker: 1 worker desired, 3 running"


def test_a_deploy_starts_with_the_desired_number_and_does_not_scale_what_it_replaces() -> None:
    changed = replace(THREE, env={"LOG_LEVEL": "debug"})
    decided = plan(changed, serving(APP), NOW)
    assert [type(a).__name__ for a in decided.actions] == ["Start", "Stop"]
    assert isinstance(decided.first, Start)
    assert decided.first.workers == 3


def test_an_instance_that_is_starting_is_scaled_once_it_serves() -> None:
    starting = serving(APP, instances=(an_instance(V1, ready_at=None),))
    decided = plan(THREE, starting, NOW)
    assert isinstance(decided.first, Start)
    assert isinstance(plan(THREE, after(starting, decided.first, NOW), NOW).first, Scale)


def test_scaling_comes_last_so_that_its_failure_holds_up_nothing() -> None:
    young = serving(
        APP, known_good=(V2,), builds=(*BOTH, "old"), listeners=frozenset({DOOR_2}), instances=(an_instance(V1),)
    )
    assert [type(a) for a in plan(THREE, young, NOW).actions][-2:] == [MarkGood, Scale]
    proven = serving(APP, builds=(*BOTH, "old"))
    assert [type(a) for a in plan(THREE, proven, NOW).actions] == [RemoveBuild, RemoveBuild, Scale]


def test_what_is_put_to_sleep_is_not_scaled_before() -> None:
    app = replace(THREE, idle_after_s=60.0)
    idle = serving(app, instances=(an_instance(app.revision("c1")),))
    assert [type(a) for a in plan(app, idle, NOW).actions] == [Sleep]


def test_what_serves_while_the_target_backs_off_is_scaled() -> None:
    decided = plan(THREE, deployed(a_trouble(V2)), NOW)
    assert [str(a) for a in decided.actions] == ["scale instance i1 to 3 workers"]
    assert (decided.state, decided.reason) == ("degraded", Reason.FALLEN_BACK)


def test_what_serves_while_inputs_are_missing_is_scaled() -> None:
    waiting = serving(APP, inputs=ExternalInputs(missing=("service db: it is being created",)))
    assert [str(a) for a in plan(THREE, waiting, NOW).actions] == ["scale instance i1 to 3 workers"]


def test_a_fallback_starts_with_the_desired_number() -> None:
    first = plan(THREE, deployed(a_trouble(V2), instances=()), NOW).first
    assert isinstance(first, Start)
    assert (first.revision, first.workers) == (V1, 3)


def test_what_an_operator_rolled_back_to_runs_with_the_desired_number() -> None:
    override = Override(kind="rolled back", holds_for=V2.id, revision=V1)
    back = serving(APP, "c2", builds=BOTH, instances=(an_instance(V1),), known_good=(V1, V2), override=override)
    assert planned(THREE, back) == "scale instance i1 to 3 workers: 3 workers desired, 1 running"
    gone = plan(THREE, replace(back, instances=()), NOW).first
    assert isinstance(gone, Start)
    assert (gone.revision, gone.workers) == (V1, 3)


def test_a_revision_that_failed_with_other_workers_is_tried_at_once() -> None:
    """Too many of them may be why, and what was edited is never held up by a back-off."""
    failed = serving(APP, instances=(), failures=(a_trouble(V1, kind="crashed", count=9, workers=8),), known_good=())
    assert planned(THREE, failed) == "start revision v1: the app was not running"
    assert plan(THREE, failed, NOW).failures == 0
    held = replace(failed, failures=(replace(failed.failures[0], workers=3),))
    assert planned(THREE, held) == ""


@pytest.mark.parametrize("workers", [0, 3])
def test_a_failure_counts_on_where_its_workers_are_the_same_or_unknown(workers: int) -> None:
    died = serving(
        THREE,
        failures=(a_trouble(V1, kind="crashed", count=4, workers=workers),),
        instances=(dead(workers=3, ready_at=NOW - 2),),
    )
    reaped = after(died, plan(THREE, died, NOW).actions[0], NOW)
    assert [(f.count, f.workers) for f in reaped.failures] == [(5, 3)]


def test_scaling_neither_wakes_nor_stages_what_sleeps() -> None:
    app = an_app(idle_after_s=60.0, server=Server(workers=3))
    asleep = serving(app, instances=(), sleep_state=SleepState(gate_passed=app.revision("c1").id))
    assert plan(app, asleep, NOW).actions == ()


def test_an_edit_of_workers_and_code_stages_first() -> None:
    changed = serving(APP, source=a_look(APP, "c2"))
    assert [type(a) for a in plan(THREE, changed, NOW).actions][:2] == [Stage, Start]
    assert planned(THREE, changed) == lines("""
        stage build b2: its source or its build settings changed
        start revision v2: its code changed
        stop instance i1: replaced by a new instance
    """)
