"""Which revision serves: the desired one, the one an operator rolled back to, or the last known good one."""

from dataclasses import replace

from reconciler.planning.apps.actions import (
    Listen,
    Stage,
    Start,
    Stop,
    Unlisten,
)
from reconciler.planning.apps.failures import crash_delay_s
from reconciler.planning.apps.observed import Override, SleepState
from reconciler.planning.apps.plan import plan
from tests.support.plans import (
    APP,
    B1,
    B2,
    B3,
    BOTH,
    DOOR_2,
    LATER,
    TIRED,
    V1,
    V2,
    V3,
    deployed,
    lines,
    planned,
)
from tests.world import (
    ADDRESS,
    NOW,
    a_look,
    a_trouble,
    an_instance,
    serving,
    sleeping,
)

# Failing a gate, a release command, a probation


def test_a_revision_that_failed_its_gate_waits_while_the_one_before_it_serves() -> None:
    decided = plan(APP, deployed(a_trouble(V2)), NOW)
    assert (decided.actions, decided.state, decided.failures) == ((), "degraded", 1)
    assert decided.message == f"revision {V2.id} failed: exited with 3; revision {V1.id} serves"
    assert decided.recheck_at == NOW - 0.5 + crash_delay_s(APP.crash, 2, "blog")


def test_another_revision_is_tried_at_once_whatever_the_one_before_did() -> None:
    fixed = deployed(a_trouble(V2, count=9), source=a_look(APP, "c3"), builds=(*BOTH, B3.id))
    decided = plan(APP, fixed, NOW)
    assert decided.first == Start(revision=V3, workers=1, failing=a_trouble(V3), cause="")
    assert decided.failures == 0


def test_when_a_revision_dies_on_probation_the_one_before_it_is_brought_back_first() -> None:
    died = deployed(a_trouble(V2), instances=())
    assert planned(APP, died) == "start revision v1: revision v2 cannot serve: exited with 3"
    assert plan(APP, died, NOW).state == "failing"
    back = plan(APP, deployed(a_trouble(V2)), NOW)
    assert (back.state, back.actions) == ("degraded", ())


def test_the_one_before_is_brought_back_first_even_when_the_bad_one_may_be_tried_again() -> None:
    died = deployed(a_trouble(V2), instances=())
    assert planned(APP, died, now=LATER) == "start revision v1: revision v2 cannot serve: exited with 3"


def test_a_proven_revision_that_crashes_is_started_again_and_not_rolled_back() -> None:
    died = deployed(a_trouble(V2, kind="crashed"), instances=(), known_good=(V2, V1))
    assert planned(APP, died) == "start revision v2: it failed: exited with 3"
    looping = replace(died, failures=(a_trouble(V2, kind="crashed", count=5),))
    assert (planned(APP, looping), plan(APP, looping, NOW).state) == ("", "failing")


def test_what_serves_nothing_and_is_not_staged_yet_brings_the_one_before_back_first() -> None:
    rebooted = deployed(instances=(), builds=(B1.id,))
    assert planned(APP, rebooted) == "start revision v1: revision v2 cannot serve: it is not staged yet"


def test_a_fallback_listens_where_the_app_does_now() -> None:
    moved = replace(APP, address=DOOR_2)
    bad = a_trouble(moved.revision("c2"))
    observed = deployed(bad, instances=())
    decided = plan(moved, observed, NOW)
    assert [type(a) for a in decided.actions] == [Listen, Unlisten, Start]
    assert decided.actions[2] == Start(revision=replace(V1, address=DOOR_2), workers=1, failing=bad, cause="")


def test_a_fallback_whose_build_is_gone_is_none() -> None:
    assert planned(APP, deployed(a_trouble(V2), instances=(), builds=(B2.id,)), now=LATER) == (
        "start revision v2: it failed: exited with 3"
    )


def test_a_fallback_that_fails_too_is_not_started_without_a_pause() -> None:
    both = deployed(a_trouble(V2, count=5), a_trouble(V1, kind="crashed", count=4), instances=())
    decided = plan(APP, both, NOW)
    assert (decided.actions, decided.state) == ((), "failing")
    held = replace(both, holding=frozenset({ADDRESS}))
    assert plan(APP, held, NOW).recheck_at == NOW - 0.5 + crash_delay_s(APP.crash, 4, "blog")


def test_a_fallback_that_serves_badly_where_it_never_proved_itself_is_not_started_anew_at_once() -> None:
    moved, back = replace(APP, address=DOOR_2), replace(V1, address=DOOR_2)
    ill = an_instance(back, unhealthy="GET /healthz answered 500")
    doors = frozenset({DOOR_2})
    observed = deployed(a_trouble(back, last_at=NOW), instances=(ill,), builds=(B1.id,), listeners=doors)
    decided = plan(moved, observed, NOW)
    assert [type(a) for a in decided.actions] == [Stage, Start, Stop]  # the target, and not yet what it went back to
    assert decided.recheck_at == NOW + crash_delay_s(APP.crash, 2, "blog")
    due = plan(moved, observed, LATER)
    assert due.first == Start(
        revision=back, workers=1, failing=replace(a_trouble(back, count=2), last_at=LATER), cause=""
    )


def test_a_half_started_fallback_is_waited_for() -> None:
    coming = deployed(a_trouble(V2), instances=(an_instance(V1, ready_at=None),))
    assert planned(APP, coming) == "start revision v1: revision v2 cannot serve: exited with 3"


def test_a_revision_gone_back_to_by_an_edit_is_proven_anew_so_that_it_is_the_first_to_go_back_to() -> None:
    assert planned(APP, serving(APP, known_good=(V2, V1))) == "mark revision v1 as good: it served for 10 s"


# Wishes of an operator


def test_an_app_rolled_back_by_hand_serves_that_revision_until_its_source_changes() -> None:
    override = Override(kind="rolled back", holds_for=V2.id, revision=V1)
    rolled = serving(APP, "c2", builds=BOTH, instances=(an_instance(V2),), known_good=(V2, V1), override=override)
    assert planned(APP, rolled) == lines("""
        start revision v1: an operator rolled back to it
        stop instance i1: replaced by a new instance
    """)
    back = replace(rolled, instances=(an_instance(V1),), known_good=(V1, V2))
    decided = plan(APP, back, NOW)
    assert (decided.actions, decided.state, decided.wanted) == ((), "running", V1.id)
    assert decided.message == "rolled back by an operator, until the manifest or the source changes"
    finishing = replace(back, instances=(*rolled.instances, an_instance(V1, "i2")))
    said = plan(APP, finishing, NOW).message
    assert said == (
        "rolled back by an operator; the previous instance (pid 4242) is finishing its requests;"
        " it is killed after 30 s (stop_timeout)"
    )
    changed = replace(back, source=a_look(APP, "c3"))
    assert plan(APP, changed, NOW).wanted == V3.id


def test_a_revision_rolled_back_to_whose_build_is_gone_is_given_up() -> None:
    override = Override(kind="rolled back", holds_for=V2.id, revision=V1)
    assert planned(APP, serving(APP, "c2", override=override)) == ""


# Sleeping


def test_a_knock_at_what_was_gated_asleep_and_failed_brings_the_one_before() -> None:
    rest = SleepState(gate_passed=V1.id, activated_at=NOW)
    bad = sleeping(TIRED, source=a_look(TIRED, "c2"), builds=BOTH, failures=(a_trouble(V2),), sleep_state=rest)
    assert planned(TIRED, bad) == "start revision v1: revision v2 cannot serve: exited with 3"
