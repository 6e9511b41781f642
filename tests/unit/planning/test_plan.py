"""The plan for every situation, as text; and what holds of the plan for any situation whatever."""

from dataclasses import replace
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from reconciler.planning.apps.actions import (
    Action,
    ArmActivation,
    ForgetApp,
    Listen,
    MarkGood,
    ReadSource,
    Reap,
    RecordFailure,
    Release,
    RemoveBuild,
    ServeHoldingPage,
    Sleep,
    Stage,
    Start,
    Stop,
    StopHoldingPage,
    Unlisten,
)
from reconciler.planning.apps.failures import crash_delay_s
from reconciler.planning.apps.observed import ExternalInputs, Failure, Instance, Observed, Override, SleepState
from reconciler.planning.apps.plan import plan
from reconciler.planning.apps.serving import state_when_failing
from reconciler.planning.desired import Address, App, Binding, Bound, CrashPolicy, Revision, Server, Source
from reconciler.planning.plan import Plan
from tests.world import (
    ADDRESS,
    CONTENTS,
    NOW,
    a_look,
    a_trouble,
    after,
    an_app,
    an_instance,
    anything_observed,
    apps,
    as_text,
    coming_up,
    failed,
    is_asleep,
    is_served,
    serving,
    sleeping,
    waiting,
    wanted_of,
    with_instance,
    without_instance,
)

APP = an_app()
V1, V2 = APP.revision("c1"), APP.revision("c2")
B1, B2, B3 = (APP.build(c) for c in CONTENTS)
V3 = APP.revision("c3")
BOTH = (B1.id, B2.id)
DOOR_2 = Address(host="127.0.0.1", port=8002)
LATER = NOW + 1000


def planned(app: App | None, observed: Observed, *, now: float = NOW) -> str:
    """The plan as text: revisions are v1 and v2 (v2 also of an edited app), builds b1 to b3."""
    return named(app, plan(app, observed, now))


def named(app: App | None, decided: Plan[Action]) -> str:
    edited = app.revision("c1") if app is not None and app.revision("c1") != V1 else V2
    return as_text(decided, v1=V1, v2=edited, b1=B1, b2=B2, b3=B3)


def at_once(app: App | None, observed: Observed, *, now: float = NOW) -> str:
    """What is done beside everything else, as text."""
    return "\n".join(f"{action}: {action.cause}" for action in plan(app, observed, now).immediate)


def lines(text: str) -> str:
    return dedent(text).strip()


# Deploying


def test_an_app_never_seen_is_read_first() -> None:
    assert planned(APP, Observed()) == "read source /apps/blog: its source was never read"


def test_the_first_deploy_stages_listens_and_starts() -> None:
    assert planned(APP, Observed(source=a_look(APP))) == lines("""
        listen on 127.0.0.1:8001: 127.0.0.1:8001 is not open
        stage build b1: it was never staged
        start revision v1: no instance is running
    """)


def test_an_app_as_asked_has_nothing_to_do() -> None:
    decided = plan(APP, serving(APP), NOW)
    assert (decided.actions, decided.state, decided.message) == ((), "running", "")
    assert (decided.wanted, decided.recheck_at, decided.settled) == (V1.id, None, True)


def test_changed_code_is_staged_and_takes_over_before_the_old_instance_stops() -> None:
    assert planned(APP, serving(APP, source=a_look(APP, "c2"))) == lines("""
        stage build b2: its source or the way it is built changed
        start revision v2: its code changed
        stop instance i1: its successor serves
    """)


@pytest.mark.parametrize(
    "edited",
    [
        pytest.param(replace(APP, env={"LOG_LEVEL": "debug"}), id="env"),
        pytest.param(replace(APP, server=Server(threads=2)), id="threads"),
    ],
)
def test_an_edited_configuration_is_started_from_the_build_that_is_there(edited: App) -> None:
    assert planned(edited, serving(APP)) == lines("""
        start revision v2: its configuration changed
        stop instance i1: its successor serves
    """)


def test_a_changed_port_is_opened_first_and_the_old_one_closed_last() -> None:
    assert planned(replace(APP, address=DOOR_2), serving(APP)) == lines("""
        listen on 127.0.0.1:8002: 127.0.0.1:8002 is not open
        start revision v2: its configuration changed
        stop instance i1: its successor serves
        close 127.0.0.1:8001: it listens on 127.0.0.1:8002 now
    """)


@pytest.mark.parametrize(
    "different",
    [
        {"failures": (a_trouble(replace(APP, address=DOOR_2).revision("c1"), count=5),)},
        {"unmet_dependencies": ("api",)},
    ],
    ids=["failing", "waiting for another"],
)
def test_a_port_that_no_instance_listens_on_is_given_up_at_once(different: dict[str, Any]) -> None:
    """Another app may be asked to listen there, and must not wait until this one is mended."""
    assert planned(replace(APP, address=DOOR_2), serving(APP, instances=(), known_good=(), **different)) == lines("""
        listen on 127.0.0.1:8002: 127.0.0.1:8002 is not open
        close 127.0.0.1:8001: it listens on 127.0.0.1:8002 now
    """)


def test_an_edit_while_a_start_is_under_way_ends_the_half_started_one_and_keeps_what_serves() -> None:
    starting = serving(APP, instances=(an_instance(V1), an_instance(V2, "i2", ready_at=None)), builds=(B1.id, B2.id))
    edited = replace(APP, server=Server(threads=2))
    assert planned(edited, starting) == lines("""
        stop instance i2: it is no longer needed
        start revision v2: its configuration changed
        stop instance i1: its successor serves
    """)


def test_an_edit_while_the_old_one_is_being_retired_lets_it_go_first() -> None:
    retiring = serving(APP, instances=(an_instance(V2, stopping_since=NOW - 1), an_instance(V1, "i2")))
    edited = replace(APP, server=Server(threads=2))
    assert planned(edited, retiring) == lines("""
        stop instance i1: it is no longer needed
        start revision v2: its configuration changed
        stop instance i2: its successor serves
    """)


def test_an_edit_undone_while_the_old_one_is_being_retired_starts_it_anew() -> None:
    retiring = serving(
        APP, "c1", instances=(an_instance(V1, stopping_since=NOW - 1), an_instance(V2, "i2")), builds=(B1.id, B2.id)
    )
    assert planned(APP, retiring) == lines("""
        stop instance i1: it is no longer needed
        start revision v1: its configuration changed
        stop instance i2: its successor serves
    """)


def test_a_fix_pushed_while_a_start_keeps_failing_goes_first() -> None:
    broken = serving(APP, source=a_look(APP, "c2", stale=True), builds=(B1.id, B2.id), source_generation=7)
    assert planned(APP, broken) == "read source /apps/blog: its source changed"


# Finishing what was begun


def test_an_instance_found_not_ready_is_waited_for() -> None:
    assert (
        planned(APP, serving(APP, instances=(an_instance(V1, ready_at=None),)))
        == "start revision v1: no instance is running"
    )


def test_of_two_instances_of_the_wanted_revision_the_readiest_stays() -> None:
    twins = serving(APP, instances=(an_instance(V1, ready_at=None, started_at=NOW - 200), an_instance(V1, "i2")))
    assert planned(APP, twins) == "stop instance i1: its successor serves"


def test_an_old_instance_told_to_stop_is_seen_off() -> None:
    retiring = serving(APP, instances=(an_instance(V2, stopping_since=NOW - 1), an_instance(V1, "i2")))
    assert planned(APP, retiring) == "stop instance i1: its successor serves"
    assert plan(APP, retiring, NOW).state == "starting"


def test_builds_of_what_is_wanted_alive_or_proven_are_kept_and_others_go_once_the_wanted_one_is_proven() -> None:
    unproven = serving(
        APP, "c3", builds=(B1.id, B2.id, B3.id), known_good=(V2,), instances=(an_instance(V3, "i1", ready_at=NOW),)
    )
    assert planned(APP, unproven) == ""
    assert planned(APP, replace(unproven, known_good=(V3, V2))) == "remove build b1: newer builds replaced it"


def test_a_listener_that_could_not_be_fetched_back_gets_a_successor() -> None:
    assert planned(APP, serving(APP, instances=(an_instance(V1, detached=True),))) == lines("""
        start revision v1: the listener of the running instance could not be fetched back
        stop instance i1: its successor serves
    """)


def test_of_a_crowd_of_old_generations_only_the_newest_that_serves_stays_while_the_new_one_starts() -> None:
    other = an_app(env={"A": "1"}).revision("c1")
    crowd = serving(
        APP,
        "c2",
        builds=(B1.id, B2.id),
        instances=(
            an_instance(V1, "old"),
            an_instance(other, "newer", started_at=NOW - 30),
            an_instance(V1, "starting", ready_at=None),
        ),
    )
    assert planned(APP, crowd) == lines("""
        stop instance starting: it is no longer needed
        stop instance old: it is no longer needed
        start revision v2: its code changed
        stop instance newer: its successor serves
    """)


# Crashing


def dead(revision: Revision = V1, **different: Any) -> Instance:
    return an_instance(revision, end="was killed by SIGKILL", **different)


def crashed(count: int, **different: Any) -> Failure:
    return a_trouble(V1, kind="crashed", count=count, **different)


def remembered(app: App, observed: Observed) -> Failure | None:
    """What burying the dead says of them."""
    (bury,) = (a for a in plan(app, observed, NOW).actions if isinstance(a, Reap))
    return bury.failure


def test_a_crash_is_cleaned_up_and_started_again_at_once() -> None:
    assert planned(APP, serving(APP, instances=(dead(),))) == lines("""
        clean up after instance i1: gunicorn 4242 was killed by SIGKILL
        start revision v1: no instance is running
    """)


def test_a_proven_revision_that_dies_has_crashed_and_is_not_bad() -> None:
    died = serving(APP, instances=(dead(ready_at=NOW - 1),))
    assert remembered(APP, died) == crashed(1, last_at=NOW, reason="gunicorn 4242 was killed by SIGKILL", workers=1)


def test_what_dies_on_probation_is_bad() -> None:
    died = serving(APP, known_good=(), instances=(dead(ready_at=NOW - 9),))
    assert remembered(APP, died) == a_trouble(V1, last_at=NOW, reason="gunicorn 4242 was killed by SIGKILL", workers=1)


def test_what_dies_after_its_probation_and_before_anybody_noted_it_has_crashed() -> None:
    trouble = remembered(APP, serving(APP, known_good=(), instances=(dead(ready_at=NOW - 10),)))
    assert trouble is not None
    assert trouble.kind == "crashed"


@pytest.mark.parametrize(("served_s", "count"), [(59, 4), (60, 1), (None, 4)])
def test_a_good_run_starts_the_count_of_deaths_anew(served_s: float | None, count: int) -> None:
    ready_at = None if served_s is None else NOW - served_s
    died = serving(APP, failures=(crashed(3),), instances=(dead(ready_at=ready_at),))
    trouble = remembered(APP, died)
    assert trouble is not None
    assert trouble.count == count


def test_what_was_told_to_stop_did_not_die() -> None:
    assert remembered(APP, serving(APP, instances=(dead(stopping_since=NOW - 1),))) is None


def test_the_death_of_one_revision_is_no_trouble_of_another() -> None:
    died = serving(APP, "c2", instances=(dead(), an_instance(V2, "i2")), failures=(a_trouble(V2, count=5),))
    assert remembered(APP, died) == crashed(1, last_at=NOW, reason="gunicorn 4242 was killed by SIGKILL", workers=1)


def test_the_first_restart_does_not_wait() -> None:
    looping = serving(APP, instances=(), failures=(crashed(1, last_at=NOW),))
    assert planned(APP, looping) == "start revision v1: it failed: exited with 3"


def test_a_crash_loop_waits_and_says_until_when_and_why() -> None:
    looping = serving(APP, instances=(), failures=(crashed(5),), unserved_since=NOW - 1)
    decided = plan(APP, looping, NOW)
    assert (decided.actions, decided.state, decided.settled) == ((), "failing", False)
    assert decided.message == "failed 5 times in a row, most recently: exited with 3"
    assert (decided.wanted, decided.failures, decided.recheck_at) == (V1.id, 5, NOW + 4)
    held = replace(looping, holding=frozenset({ADDRESS}))
    again = plan(APP, held, NOW).recheck_at
    assert again == NOW - 0.5 + crash_delay_s(APP.crash, 5, "blog")
    assert planned(APP, held, now=again) == "start revision v1: it failed: exited with 3"


def test_a_crash_loop_of_another_revision_delays_nothing() -> None:
    looping = serving(APP, "c2", builds=BOTH, instances=(), failures=(crashed(9),), known_good=(V1,))
    assert planned(APP, looping) == "start revision v2: no instance is running"


def test_what_still_serves_stays_while_a_crash_loop_waits() -> None:
    looping = serving(APP, instances=(an_instance(V2),), failures=(crashed(5),))
    decided = plan(APP, looping, NOW)
    assert (decided.actions, decided.state) == ((), "degraded")
    assert decided.message == f"revision {V1.id} failed: exited with 3; revision {V2.id} serves"


def test_what_neither_serves_nor_will_is_ended_while_a_crash_loop_waits() -> None:
    looping = serving(APP, instances=(an_instance(V2, ready_at=None),), failures=(crashed(5),))
    assert planned(APP, looping) == "stop instance i1: it is no longer needed"


def test_an_unreadable_source_is_read_again_even_while_a_crash_loop_waits() -> None:
    unreadable = a_look(APP, stale=True, problem="it is gone", tried_at=NOW - 26)
    looping = serving(APP, source=unreadable, instances=(), failures=(crashed(40, last_at=NOW),))
    assert plan(APP, looping, NOW).recheck_at == NOW + 4


# Failing a gate, a release command, a probation


def deployed(*troubles: Failure, **different: Any) -> Observed:
    """The second revision is asked for and staged; the first one is proven and serves."""
    usual = serving(APP, "c2", builds=BOTH, instances=(an_instance(V1),), known_good=(V1,), failures=troubles)
    return waiting(replace(usual, **different), NOW - 3)


def test_a_start_says_what_is_to_be_remembered_when_it_fails() -> None:
    first, again, crash = (
        deployed(),
        deployed(a_trouble(V2, count=3, last_at=NOW - 100)),
        serving(APP, instances=(), failures=(crashed(1),)),
    )
    told = [a.failing for o in (first, again, crash) for a in plan(APP, o, NOW).actions if isinstance(a, Start)]
    assert [(t.kind, t.count) for t in told] == [("rejected", 1), ("rejected", 4), ("crashed", 2)]


def test_a_revision_that_failed_its_gate_waits_while_the_one_before_it_serves() -> None:
    decided = plan(APP, deployed(a_trouble(V2)), NOW)
    assert (decided.actions, decided.state, decided.failures) == ((), "degraded", 1)
    assert decided.message == f"revision {V2.id} failed: exited with 3; revision {V1.id} serves"
    assert decided.recheck_at == NOW - 0.5 + crash_delay_s(APP.crash, 2, "blog")


def test_its_time_come_it_is_tried_again_beside_what_serves() -> None:
    assert planned(APP, deployed(a_trouble(V2)), now=NOW + 1) == lines("""
        start revision v2: it failed: exited with 3
        stop instance i1: its successor serves
    """)


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


def test_once_it_has_served_for_its_probation_a_revision_is_proven() -> None:
    young = serving(APP, known_good=(), instances=(an_instance(V1, ready_at=NOW - 9),))
    decided = plan(APP, young, NOW)
    assert (decided.actions, decided.state, decided.settled, decided.recheck_at) == ((), "running", True, NOW + 1)
    assert planned(APP, young, now=NOW + 1) == "mark revision v1 as good: it served for 10 s"


def test_a_revision_gone_back_to_by_an_edit_is_proven_anew_so_that_it_is_the_first_to_go_back_to() -> None:
    assert planned(APP, serving(APP, known_good=(V2, V1))) == "mark revision v1 as good: it served for 10 s"


# Release commands

MIGRATING = an_app(release="migrate")


def test_a_release_command_is_run_once_between_staging_and_starting() -> None:
    first = Observed(source=a_look(MIGRATING), listeners=frozenset({ADDRESS}))
    staged = after(first, plan(MIGRATING, first, NOW).actions[0], NOW)
    assert planned(MIGRATING, first) == lines("""
        stage build b1: it was never staged
        run the release command of build b1: it was never run
        start revision v2: no instance is running
    """)
    released = after(staged, plan(MIGRATING, staged, NOW).actions[0], NOW)
    assert planned(MIGRATING, released) == "start revision v2: no instance is running"


@pytest.mark.parametrize(
    ("edited", "again"),
    [
        pytest.param(replace(MIGRATING, env={"A": "1"}), True, id="env"),
        pytest.param(replace(MIGRATING, release="migrate --all"), True, id="release"),
        pytest.param(replace(MIGRATING, server=Server(workers=2)), False, id="workers"),
        pytest.param(replace(MIGRATING, address=DOOR_2), False, id="port"),
    ],
)
def test_a_release_command_is_run_again_for_another_environment_only(edited: App, again: bool) -> None:
    actions = plan(edited, serving(MIGRATING), NOW).actions
    assert any(isinstance(a, Release) for a in actions) == again


def test_a_release_command_that_fails_waits_like_a_gate_while_the_one_before_serves() -> None:
    bad = MIGRATING.revision("c2")
    observed = deployed(a_trouble(bad, reason="migrate: no such table"), source=a_look(MIGRATING, "c2"))
    assert plan(MIGRATING, observed, NOW).actions == ()
    assert [type(a) for a in plan(MIGRATING, observed, NOW + 1).actions] == [Release, Start, Stop]


def test_a_release_command_that_fails_for_what_sleeps_is_not_run_without_a_pause() -> None:
    lazy = replace(MIGRATING, lazy=True)
    asleep = Observed(source=a_look(lazy), builds=(B1.id,), listeners=frozenset({ADDRESS}), armed=frozenset({ADDRESS}))
    failing = replace(asleep, failures=(a_trouble(lazy.revision("c1"), count=3),))
    decided = plan(lazy, failing, NOW)
    assert (decided.actions, decided.state, decided.settled) == ((), "sleeping", False)
    assert decided.recheck_at == NOW - 0.5 + crash_delay_s(APP.crash, 3, "blog")
    assert [type(a) for a in plan(lazy, failing, decided.recheck_at).actions] == [Release]


# Wishes of an operator


def test_an_app_stopped_by_hand_ends_until_its_manifest_changes() -> None:
    override = Override(kind="stopped", holds_for=APP.fingerprint)
    assert planned(APP, serving(APP, override=override)) == lines("""
        stop instance i1: stopped by an operator, until its manifest changes
        close 127.0.0.1:8001: stopped by an operator, until its manifest changes
    """)
    ended = plan(APP, serving(APP, override=override, instances=(), listeners=frozenset()), NOW)
    assert (ended.actions, ended.state, ended.settled) == ((), "stopped", True)
    assert planned(replace(APP, probation_s=3.0), serving(APP, override=override)) == ""


def test_an_app_rolled_back_by_hand_serves_that_revision_until_its_source_changes() -> None:
    override = Override(kind="rolled back", holds_for=V2.id, revision=V1)
    rolled = serving(APP, "c2", builds=BOTH, instances=(an_instance(V2),), known_good=(V2, V1), override=override)
    assert planned(APP, rolled) == lines("""
        start revision v1: an operator rolled back to it
        stop instance i1: its successor serves
    """)
    back = replace(rolled, instances=(an_instance(V1),), known_good=(V1, V2))
    decided = plan(APP, back, NOW)
    assert (decided.actions, decided.state, decided.wanted) == ((), "running", V1.id)
    assert decided.message == "rolled back by an operator, until the manifest or the source changes"
    changed = replace(back, source=a_look(APP, "c3"))
    assert plan(APP, changed, NOW).wanted == V3.id


def test_a_revision_rolled_back_to_whose_build_is_gone_is_given_up() -> None:
    override = Override(kind="rolled back", holds_for=V2.id, revision=V1)
    assert planned(APP, serving(APP, "c2", override=override)) == ""


def test_a_restart_asked_for_is_a_hand_over_to_an_instance_of_the_same_revision() -> None:
    asked = serving(APP, restart_before=NOW - 10)
    assert planned(APP, asked) == lines("""
        start revision v1: an operator requested a restart
        stop instance i1: its successor serves
    """)
    successor = an_instance(V1, "i2", started_at=NOW - 5, ready_at=NOW - 4)
    both = replace(asked, instances=(*asked.instances, successor))
    assert planned(APP, both) == "stop instance i1: its successor serves"
    assert planned(APP, replace(asked, instances=(successor,))) == ""


def test_an_unwell_instance_is_replaced_by_hand_over() -> None:
    unwell = serving(APP, instances=(an_instance(V1, unhealthy="GET /healthz answered 500"),))
    assert planned(APP, unwell) == lines("""
        start revision v1: the running instance is unhealthy: GET /healthz answered 500
        stop instance i1: its successor serves
    """)


def test_an_unwell_instance_whose_successor_fails_serves_on() -> None:
    unwell = serving(APP, instances=(an_instance(V1, unhealthy="GET /healthz answered 500"),), failures=(crashed(4),))
    decided = plan(APP, unwell, NOW)
    assert (decided.actions, decided.state) == ((), "degraded")


def test_an_instance_that_loses_a_worker_on_probation_gives_way_to_what_was_proven_last() -> None:
    lost = an_instance(V2, workers_died=1, ready_at=NOW - 3)
    fell = serving(APP, "c2", builds=BOTH, instances=(lost,), known_good=(V1,))
    blame = plan(APP, fell, NOW).first
    assert str(blame) == "record the failure of instance i1"
    assert isinstance(blame, RecordFailure)
    blamed = after(fell, blame, NOW)
    assert planned(APP, blamed) == lines("""
        start revision v1: revision v2 cannot serve: a worker of gunicorn 4242 died on probation
    """)
    back = with_instance(blamed, an_instance(V1, "i2", ready_at=NOW))
    decided = plan(APP, back, NOW)
    assert [str(action) for action in decided.actions] == ["stop instance i1"]
    assert decided.state == "degraded"
    again_at = decided.recheck_at
    assert again_at is not None
    assert planned(APP, without_instance(back, "i1"), now=again_at).startswith("start revision v2: it failed")


def test_an_instance_that_loses_workers_with_nothing_to_go_back_to_serves_on_until_its_successor_does() -> None:
    lost = an_instance(V1, workers_died=3, ready_at=NOW - 3)
    blamed = serving(APP, instances=(lost,), known_good=(), failures=(a_trouble(V1, last_at=NOW - 1, count=2),))
    decided = plan(APP, blamed, NOW)
    assert (decided.actions, decided.state) == ((), "degraded")
    assert decided.message.endswith("the instance keeps serving")
    assert decided.recheck_at is not None
    assert planned(APP, blamed, now=decided.recheck_at) == lines("""
        start revision v1: it failed: exited with 3
        stop instance i1: its successor serves
    """)


def test_an_instance_that_loses_a_worker_after_its_probation_is_left_to_gunicorn() -> None:
    assert planned(APP, serving(APP, instances=(an_instance(V1, workers_died=3),))) == ""


def test_what_a_worker_says_of_itself_is_shown() -> None:
    waits = serving(APP, instances=(an_instance(V1, note="1 of its workers waits: GET /healthz answered 500"),))
    decided = plan(APP, waits, NOW)
    assert (decided.actions, decided.state, decided.settled) == ((), "degraded", False)
    assert decided.message == "1 of its workers waits: GET /healthz answered 500"


# Maintenance


def test_maintenance_ends_what_runs_and_keeps_the_door_which_the_daemon_answers() -> None:
    app = replace(APP, state="maintenance", holding_page="/apps/503.html")
    assert planned(app, serving(APP)) == "stop instance i1: its manifest says state: maintenance"
    assert plan(app, serving(APP), NOW).immediate == (
        ServeHoldingPage(address=ADDRESS, page="/apps/503.html", cause=""),
    )
    held = serving(app, instances=(), holding=frozenset({ADDRESS}))
    decided = plan(app, held, NOW)
    assert (decided.actions, decided.immediate, decided.state, decided.settled) == ((), (), "maintenance", True)


def test_maintenance_opens_the_door_of_an_app_never_seen() -> None:
    app = replace(APP, state="maintenance")
    assert planned(app, Observed()) == "listen on 127.0.0.1:8001: 127.0.0.1:8001 is not open"
    assert plan(app, Observed(), NOW).immediate == ()


def test_maintenance_moves_with_the_port() -> None:
    app = replace(APP, state="maintenance", address=DOOR_2)
    assert planned(app, serving(APP, instances=())) == lines("""
        listen on 127.0.0.1:8002: 127.0.0.1:8002 is not open
        close 127.0.0.1:8001: it listens on 127.0.0.1:8002 now
    """)


def test_after_maintenance_the_daemon_answers_until_an_instance_does() -> None:
    held = serving(APP, instances=(), holding=frozenset({ADDRESS}))
    assert (planned(APP, held), at_once(APP, held)) == ("start revision v1: no instance is running", "")
    ready = replace(held, instances=(an_instance(V1),))
    assert at_once(APP, ready) == "stop serving the holding page on 127.0.0.1:8001: an instance serves"


# Sleeping

TIRED = an_app(idle_after_s=60.0)
LAZY = an_app(lazy=True)


def test_an_app_that_nobody_asks_for_is_put_to_sleep() -> None:
    busy = serving(TIRED, instances=(an_instance(V1, busy_at=NOW - 59),))
    decided = plan(TIRED, busy, NOW)
    assert (decided.actions, decided.state, decided.recheck_at) == ((), "running", NOW + 1)
    assert planned(TIRED, busy, now=NOW + 1) == "put instance i1 to sleep: no request for 60 s"


@pytest.mark.parametrize("lately", ["ready_at", "busy_at", "activated_at"])
def test_idleness_counts_from_the_last_sign_that_somebody_is_there(lately: str) -> None:
    times = {"ready_at": NOW - 500, "busy_at": NOW - 500, "activated_at": NOW - 500} | {lately: NOW - 10}
    one = an_instance(V1, ready_at=times["ready_at"], busy_at=times["busy_at"])
    seen = serving(
        TIRED, instances=(one,), sleep_state=SleepState(gate_passed=V1.id, activated_at=times["activated_at"])
    )
    assert plan(TIRED, seen, NOW).recheck_at == NOW + 50


def test_what_sleeps_has_nothing_to_do_and_its_door_is_attended() -> None:
    decided = plan(TIRED, sleeping(TIRED), NOW)
    assert (decided.actions, decided.immediate, decided.state) == ((), (), "sleeping")
    assert (decided.settled, decided.recheck_at) == (True, None)
    fallen = replace(sleeping(TIRED), armed=frozenset())
    assert at_once(TIRED, fallen) == "wait for a connection on 127.0.0.1:8001: it is asleep"


def test_a_knock_wakes_and_a_waking_app_is_running() -> None:
    knocked = sleeping(TIRED, sleep_state=SleepState(gate_passed=V1.id, activated_at=NOW), armed=frozenset())
    assert planned(TIRED, knocked) == "start revision v1: a request arrived"
    assert (plan(TIRED, knocked, NOW).state, at_once(TIRED, knocked)) == ("running", "")


def test_what_sleeps_is_staged_released_and_gated_once_when_it_changes_and_sleeps_on() -> None:
    app = replace(TIRED, release="migrate")
    changed = sleeping(app, source=a_look(app, "c2"))
    v2 = app.revision("c2")
    story = [d.first for d, _, _ in _story(app, changed, "c2") if d.first is not None]
    assert [type(a).__name__ for a in story] == ["Stage", "Release", "Start", "Sleep"]
    assert story[-1] == Sleep(instance="n2", revision=v2.id, cause="")
    assert "it passed its gate" in {a.cause for a in story}


def test_what_was_gated_asleep_and_failed_sleeps_on_until_its_time_to_be_gated_again() -> None:
    bad = sleeping(TIRED, source=a_look(TIRED, "c2"), builds=BOTH, failures=(a_trouble(V2),))
    decided = plan(TIRED, bad, NOW)
    assert (decided.actions, decided.state, decided.message) == ((), "sleeping", "exited with 3")
    assert (decided.settled, decided.immediate) == (False, ())
    assert decided.recheck_at == NOW - 0.5 + crash_delay_s(APP.crash, 2, "blog")
    assert planned(TIRED, bad, now=decided.recheck_at) == "start revision v2: it failed: exited with 3"


def test_a_knock_at_what_was_gated_asleep_and_failed_brings_the_one_before() -> None:
    rest = SleepState(gate_passed=V1.id, activated_at=NOW)
    bad = sleeping(TIRED, source=a_look(TIRED, "c2"), builds=BOTH, failures=(a_trouble(V2),), sleep_state=rest)
    assert planned(TIRED, bad) == "start revision v1: revision v2 cannot serve: exited with 3"


def test_what_is_lazy_is_staged_and_not_even_gated_before_somebody_knocks() -> None:
    story = [d.first for d, _, _ in _story(LAZY, Observed(), "c1")]
    assert [type(a).__name__ for a in story if a is not None] == ["ReadSource", "Stage", "Listen"]


def test_what_is_lazy_stays_up_once_it_was_asked_for() -> None:
    up = serving(LAZY, sleep_state=SleepState(activated_at=NOW - 80))
    assert (planned(LAZY, up, now=LATER), plan(LAZY, up, NOW).recheck_at) == ("", None)


def test_an_app_that_serves_is_not_put_to_sleep_by_becoming_lazy() -> None:
    assert (planned(LAZY, serving(APP)), plan(LAZY, serving(APP), NOW).state) == ("", "running")


def test_a_waking_app_that_crashes_is_woken_again() -> None:
    crash = sleeping(TIRED, sleep_state=SleepState(gate_passed=V1.id, activated_at=NOW - 2), failures=(crashed(1),))
    assert planned(TIRED, crash) == "start revision v1: it failed: exited with 3"


def test_who_knocks_while_the_last_requests_finish_does_not_wait_for_them() -> None:
    finishing = sleeping(TIRED, instances=(an_instance(V1, stopping_since=NOW - 1),), armed=frozenset())
    assert planned(TIRED, finishing) == "stop instance i1: the app is asleep"
    assert at_once(TIRED, finishing) == "wait for a connection on 127.0.0.1:8001: it is asleep"
    knocked = replace(finishing, sleep_state=SleepState(gate_passed=V1.id, activated_at=NOW))
    first = plan(TIRED, knocked, NOW).first
    assert isinstance(first, Start)


def test_the_half_started_of_what_sleeps_is_ended() -> None:
    left = sleeping(TIRED, instances=(an_instance(V2, ready_at=None),))
    assert planned(TIRED, left) == "stop instance i1: the app is asleep"


# Answering for an app that cannot


def test_clients_wait_for_patience_and_are_answered_then() -> None:
    looping = serving(APP, instances=(), failures=(crashed(5),), unserved_since=NOW - 4)
    assert (at_once(APP, looping), plan(APP, looping, NOW).recheck_at) == ("", NOW + 1)
    assert at_once(APP, looping, now=NOW + 1) == "serve the holding page on 127.0.0.1:8001: no instance can serve"


def test_the_patience_of_who_knocks_begins_with_the_knock() -> None:
    waking = sleeping(TIRED, sleep_state=SleepState(gate_passed=V1.id, activated_at=NOW - 1), failures=(crashed(5),))
    assert (at_once(TIRED, waking), at_once(TIRED, waking, now=NOW + 4)) == (
        "",
        "serve the holding page on 127.0.0.1:8001: no instance can serve",
    )


def test_while_a_slow_start_lasts_clients_are_answered_too() -> None:
    slow = serving(APP, instances=(an_instance(V1, ready_at=None),), unserved_since=NOW - 10)
    decided = plan(APP, slow, NOW)
    assert decided.immediate == (ServeHoldingPage(address=ADDRESS, page=None, cause=""),)
    assert isinstance(decided.first, Start)


def test_nobody_answers_at_a_door_that_is_not_open() -> None:
    assert at_once(APP, Observed(source=a_look(APP), unserved_since=NOW - 100)) == ""


def test_while_a_source_is_being_read_the_doors_are_not_forgotten() -> None:
    stale = a_look(APP, stale=True)
    served = serving(APP, source=stale, holding=frozenset({ADDRESS}))
    assert at_once(APP, served) == "stop serving the holding page on 127.0.0.1:8001: an instance serves"
    unserved = serving(APP, source=stale, instances=(), unserved_since=NOW - 4)
    assert plan(APP, unserved, NOW).recheck_at == NOW + 1
    assert at_once(APP, unserved, now=NOW + 1) == "serve the holding page on 127.0.0.1:8001: no instance can serve"


def test_an_app_that_goes_to_sleep_is_answered_for_no_more() -> None:
    fallen = sleeping(TIRED, holding=frozenset({ADDRESS}), armed=frozenset())
    assert at_once(TIRED, fallen) == lines("""
        stop serving the holding page on 127.0.0.1:8001: it is asleep
        wait for a connection on 127.0.0.1:8001: it is asleep
    """)


# Depending on one another

NEEDY = an_app(depends_on=("api",))


def test_what_depends_on_another_is_made_ready_and_waits_for_it() -> None:
    first = Observed(source=a_look(NEEDY), unmet_dependencies=("api",))
    assert planned(NEEDY, first) == lines("""
        listen on 127.0.0.1:8001: 127.0.0.1:8001 is not open
        stage build b1: it was never staged
    """)
    decided = plan(NEEDY, serving(NEEDY, instances=(), unmet_dependencies=("api",)), NOW)
    assert (decided.actions, decided.state, decided.message) == ((), "pending", "waiting for api")
    assert decided.settled is False
    assert planned(NEEDY, serving(NEEDY, instances=())) == "start revision v1: no instance is running"


def test_what_serves_does_not_stop_nor_wait_because_another_is_gone() -> None:
    assert planned(NEEDY, serving(NEEDY, unmet_dependencies=("api",))) == ""
    changed = serving(NEEDY, source=a_look(NEEDY, "c2"), builds=BOTH, unmet_dependencies=("api",))
    assert planned(NEEDY, changed) == lines("""
        start revision v2: its code changed
        stop instance i1: its successor serves
    """)


def test_neither_is_what_it_falls_back_to_started_before_what_it_depends_on() -> None:
    bad = deployed(a_trouble(V2), instances=(), unmet_dependencies=("api",))
    assert planned(NEEDY, bad) == ""
    assert plan(NEEDY, bad, LATER).message == "waiting for api"


def test_what_was_half_started_before_what_it_depends_on_is_ended() -> None:
    half = deployed(a_trouble(V2), instances=(an_instance(V1, ready_at=None),), unmet_dependencies=("api",))
    assert planned(NEEDY, half, now=LATER) == "stop instance i1: api does not serve"


@pytest.mark.parametrize("app", [None, replace(APP, state="stopped")], ids=["removed", "stopped"])
def test_what_others_lean_on_is_stopped_after_them(app: App | None) -> None:
    decided = plan(app, serving(APP, stopping_dependents=("shop", "wiki")), NOW)
    assert (decided.actions, decided.state, decided.settled) == ((), "stopping", False)
    assert decided.message.endswith("; waiting for shop, wiki to stop")
    assert plan(app, serving(APP), NOW).actions


def test_what_goes_into_maintenance_serves_until_what_leans_on_it_and_ends_has_ended() -> None:
    decided = plan(replace(APP, state="maintenance"), serving(APP, stopping_dependents=("shop",)), NOW)
    assert (decided.actions, decided.immediate, decided.state, decided.settled) == ((), (), "maintenance", False)
    assert decided.message.endswith("; waiting for shop to stop")


# Stopping and removing


def test_a_stopped_app_ends_and_its_port_is_closed_but_its_builds_stay() -> None:
    assert planned(replace(APP, state="stopped"), serving(APP)) == lines("""
        stop instance i1: its manifest says state: stopped
        close 127.0.0.1:8001: its manifest says state: stopped
    """)


def test_a_stopped_app_stays_stopped() -> None:
    decided = plan(replace(APP, state="stopped"), serving(APP, instances=(), listeners=frozenset()), NOW)
    assert (decided.actions, decided.state) == ((), "stopped")


def test_a_removed_app_goes_away_with_all_it_left() -> None:
    left = serving(
        APP,
        builds=(B1.id, B2.id),
        listeners=frozenset({ADDRESS, DOOR_2}),
        instances=(an_instance(V1), an_instance(V2, "i2", end="exited with 0"), an_instance(V2, "i3", ready_at=None)),
    )
    assert planned(None, left) == lines("""
        clean up after instance i2: gunicorn 4242 exited with 0
        stop instance i1: its manifest was removed
        stop instance i3: its manifest was removed
        close 127.0.0.1:8001: its manifest was removed
        close 127.0.0.1:8002: its manifest was removed
        remove build b1: its manifest was removed
        remove build b2: its manifest was removed
        forget the app: its manifest was removed
    """)


def test_a_removed_app_of_which_only_traces_are_left_is_forgotten() -> None:
    assert planned(None, Observed(has_residue=True)) == "forget the app: its manifest was removed"


def test_of_an_app_that_nobody_asks_for_and_that_left_nothing_there_is_nothing_to_do() -> None:
    assert planned(None, Observed()) == ""


# Reading the source


def test_a_source_that_moved_is_read() -> None:
    moved = replace(APP, source=Source(path="/apps/moved"))
    assert planned(moved, serving(APP)) == "read source /apps/moved: its source changed"


def test_the_dead_are_buried_before_a_source_is_read() -> None:
    stale = serving(APP, source=a_look(APP, stale=True), instances=(dead(),))
    assert planned(APP, stale) == lines("""
        clean up after instance i1: gunicorn 4242 was killed by SIGKILL
        read source /apps/blog: its source changed
    """)


def test_an_unreadable_source_leaves_the_last_build_serving_and_is_tried_again_later() -> None:
    unreadable = serving(APP, source=a_look(APP, stale=True, problem="it is gone", tried_at=NOW - 10))
    decided = plan(APP, unreadable, NOW)
    assert (decided.actions, decided.state, decided.recheck_at) == ((), "degraded", NOW + 20)
    assert decided.message == "the last build serves, but it is gone"
    assert planned(APP, unreadable, now=NOW + 20) == "read source /apps/blog: its source changed"


def test_an_instance_that_dies_while_the_source_is_unreadable_is_started_again_from_the_last_build() -> None:
    unreadable = serving(
        APP, source=a_look(APP, stale=True, problem="it is gone", tried_at=NOW - 10), instances=(dead(),)
    )
    assert planned(APP, unreadable).splitlines()[-1] == "start revision v1: no instance is running"


@pytest.mark.parametrize(
    ("instances", "state"),
    [((an_instance(V2),), "degraded"), ((an_instance(V2, ready_at=None),), "failing"), ((), "failing")],
)
def test_an_app_whose_next_action_fails_is_degraded_while_anything_of_it_serves(
    instances: tuple[Instance, ...], state: str
) -> None:
    assert state_when_failing(serving(APP, instances=instances)) == state


# Crash delays


@pytest.mark.parametrize(
    ("count", "around"), [(1, 0.0), (2, 1.0), (3, 2.0), (4, 4.0), (7, 32.0), (8, 60.0), (100, 60.0), (10**6, 60.0)]
)
def test_crash_delays_double_to_the_cap(count: int, around: float) -> None:
    assert around * 0.75 <= crash_delay_s(CrashPolicy(), count, "blog") <= around * 1.25


_policies = st.builds(CrashPolicy, first_s=st.floats(0.01, 100), cap_s=st.floats(0.01, 1000))


@given(_policies, st.integers(0, 10**9), st.text())
def test_no_crash_delay_is_over_its_jittered_cap(policy: CrashPolicy, count: int, name: str) -> None:
    assert 0 <= crash_delay_s(policy, count, name) <= policy.cap_s * 1.25


@given(_policies, st.integers(1, 60))
def test_before_jitter_no_crash_delay_is_shorter_than_the_one_before(policy: CrashPolicy, count: int) -> None:
    """Jitter is 25% either way, so that the longest of one count is at most 5/3 of the shortest of the next."""
    names = [f"app-{n}" for n in range(20)]
    longest = max(crash_delay_s(policy, count, name) for name in names)
    shortest = min(crash_delay_s(policy, count + 1, name) for name in names)
    assert longest <= shortest * 1.25 / 0.75 + 1e-9


def test_apps_that_died_together_come_back_apart() -> None:
    assert len({crash_delay_s(CrashPolicy(), 8, f"app-{n}") for n in range(100)}) == 100


# Anything, whatever was found


@st.composite
def situations(draw: st.DrawFn) -> tuple[App | None, Observed]:
    app = draw(apps)
    return draw(st.sampled_from((app, app, app, app, app, None))), draw(anything_observed(app))


@st.composite
def _running(draw: st.DrawFn, *, may_sleep: bool | None = None) -> tuple[App, Observed]:
    """Of an app that is asked to run, and that may sleep, or may not, or either."""
    app = replace(draw(apps), state="running")
    if may_sleep is False:
        app = replace(app, lazy=False, idle_after_s=None)
    elif may_sleep and not app.lazy:
        app = replace(app, idle_after_s=60.0)
    observed = draw(anything_observed(app))
    return app, observed if not _ends(app, observed) else replace(observed, override=None)


@given(_running(), st.floats(min_value=0, max_value=0.999))
def test_until_it_says_to_look_again_time_alone_changes_no_plan(running: "Running", part: float) -> None:
    app, observed = running
    decided = plan(app, observed, NOW)
    until = NOW + 1e6 if decided.recheck_at is None else decided.recheck_at
    later = plan(app, observed, NOW + (until - NOW) * part)
    assert replace(later, actions=()) == replace(decided, actions=())
    assert list(map(str, later.actions)) == list(map(str, decided.actions))


_MANY = 60

Situation = tuple[App | None, Observed]
Running = tuple[App, Observed]
Chapter = tuple[Plan[Action], Observed, float]


def _story(app: App | None, observed: Observed, content: str, broken: frozenset[str] = frozenset()) -> list[Chapter]:
    """Doing what is first again and again, and waiting where there is something to wait for.

    Everything works, except that a `broken` revision never gets as far as serving; with one the story may go on for
    ever, and is left when it has become long.
    """
    now: float = NOW
    story: list[Chapter] = []
    for step in range(_MANY):
        observed = _attended_to(app, observed, now)
        decided = plan(app, observed, now)
        story.append((decided, observed, now))
        match decided.first:
            case None:
                if decided.recheck_at is None:
                    return story
                assert decided.recheck_at > now, "it would look again and again at the same instant"
                now = decided.recheck_at
            case Start() as first if first.revision.id in broken:
                observed = failed(observed, first, now, "exited with 3")
            case first:
                observed = after(observed, first, now, content=content, newborn=f"n{step}")
        now += 0.01
    assert broken, f"no end after {_MANY} steps: " + "; ".join(str(p.first) for p, _, _ in story[-4:])
    return story


def _attended_to(app: App | None, observed: Observed, now: float) -> Observed:
    """What is to be done at once is done, and is done by that."""
    decided = plan(app, observed, now)
    for action in decided.immediate:
        assert isinstance(action, ServeHoldingPage | StopHoldingPage | ArmActivation)
        observed = after(observed, action, now)
    if decided.immediate:
        assert plan(app, observed, now).immediate == ()
    return observed


def _ends(app: App, observed: Observed) -> bool:
    override = observed.override
    return app.state == "stopped" or (
        override is not None and override.kind == "stopped" and override.holds_for == app.fingerprint
    )


@given(situations(), st.sampled_from(CONTENTS))
def test_every_story_ends_with_what_was_asked_for(situation: Situation, content: str) -> None:
    app, observed = situation
    story = _story(app, observed, content)
    last, end, _ = story[-1]
    event(f"{last.state} after {len(story) // 4 * 4} steps")
    if app is None or _ends(app, observed):
        if observed.stopping_dependents and any(i.end is None for i in observed.instances):
            assert (last.state, len(story)) == ("stopping", 1)
        elif app is None:
            assert end == Observed(stopping_dependents=end.stopping_dependents, source_generation=end.source_generation)
        else:
            assert (last.state, last.settled) == ("stopped", True)
            assert (end.instances, end.listeners) == ((), frozenset())
    elif app.state == "maintenance" and observed.stopping_dependents and any(i.end is None for i in observed.instances):
        assert (last.state, last.settled) == ("maintenance", False)
    elif app.state == "maintenance":
        assert (last.state, last.settled) == ("maintenance", True)
        assert (end.instances, end.listeners) == ((), frozenset({app.address}))
        assert app.address in end.holding
    else:
        wanted = wanted_of(app, end)
        assert wanted is not None
        assert last.wanted == wanted.id
        if last.state == "sleeping":
            assert is_asleep(app, wanted, end)
            assert end.sleep_state.gate_passed == wanted.id or (app.lazy and end.sleep_state.gate_passed is None)
            assert app.lazy or app.idle_after_s is not None
        elif last.state == "pending":
            assert end.unmet_dependencies
            assert not end.serves
            assert wanted.build.id in end.builds
        else:
            assert last.state in ("running", "degraded")
            assert is_served(app, "", end, wanted)
            assert end.known_good[0] == wanted
            assert len(end.builds) <= 4


@given(_running(), st.sampled_from(CONTENTS), st.sampled_from(CONTENTS))
def test_what_serves_is_never_stopped_before_another_one_does(situation: Running, content: str, broken: str) -> None:
    """Unless it was only started to be gated, by an app that sleeps."""
    app, observed = situation
    for decided, seen, _ in _story(app, observed, content, frozenset({app.revision(broken).id})):
        gating = app.may_sleep and seen.sleep_state.gate_passed is not None and seen.sleep_state.activated_at is None
        if isinstance(decided.first, Stop) and not gating:
            (stopped,) = (i for i in seen.instances if i.id == decided.first.instance)
            assert not stopped.serves or any(i.serves for i in seen.instances if i is not stopped)


@given(situations(), st.sampled_from(CONTENTS))
def test_no_build_or_listener_is_taken_from_under_an_instance(situation: Situation, content: str) -> None:
    for decided, seen, _ in _story(*situation, content):
        match decided.first:
            case RemoveBuild(build=build):
                assert build not in {i.build for i in seen.alive}
            case Unlisten(address=address):
                assert address not in {i.address for i in seen.alive}
            case ForgetApp():
                assert (seen.alive, seen.builds, seen.listeners) == ((), (), frozenset())
            case _:
                pass


@given(situations(), st.sampled_from(CONTENTS), st.sampled_from(CONTENTS))
def test_at_most_two_generations_and_nothing_without_build_listener_release_or_burial(
    situation: Situation, content: str, broken: str
) -> None:
    app, observed = situation
    bad = frozenset({app.revision(broken).id} if app else ())
    for decided, seen, _ in _story(app, observed, content, bad):
        if isinstance(decided.first, Start):
            starting = decided.first.revision
            coming = coming_up(seen, starting)
            assert all(i.end is None for i in seen.instances)
            assert len([i for i in seen.instances if i is not coming]) <= 1
            assert starting.build.id in seen.builds
            assert starting.address is None or starting.address in seen.listeners
            if starting.id == decided.wanted and starting.release_id is not None:
                assert starting.release_id in seen.released


@given(_running(), st.sampled_from(CONTENTS), st.sampled_from(CONTENTS))
def test_a_revision_that_failed_is_not_started_before_its_time(situation: Running, content: str, broken: str) -> None:
    app, observed = situation
    for decided, seen, now in _story(app, observed, content, frozenset({app.revision(broken).id})):
        if isinstance(decided.first, Start):
            trouble = seen.failure_of(decided.first.revision.id)
            if trouble is not None and coming_up(seen, decided.first.revision) is None:
                more = trouble.kind == "rejected" and decided.first.revision.id == decided.wanted and seen.serves
                assert now >= trouble.last_at + crash_delay_s(app.crash, trouble.count + more, app.name)


@given(_running(), st.sampled_from(CONTENTS), st.sampled_from(CONTENTS))
def test_a_broken_revision_is_never_started_over_and_over(situation: Running, content: str, broken: str) -> None:
    """Two tries come at once at most: the first one and the one right after it."""
    app, observed = situation
    bad = app.revision(broken).id
    story = _story(app, observed, content, frozenset({bad}))
    tries = [at for p, _, at in story if isinstance(p.first, Start) and p.first.revision.id == bad]
    assert all(later - first > 0.5 for first, later in zip(tries, tries[2:], strict=False))


@given(_running(may_sleep=False), st.sampled_from(CONTENTS), st.sampled_from(CONTENTS))
def test_while_the_wanted_revision_is_bad_the_last_proven_one_serves_or_is_brought_back_first(
    situation: Running, content: str, broken: str
) -> None:
    app, observed = situation
    observed = replace(observed, sleep_state=SleepState(), unmet_dependencies=())
    for decided, seen, _ in _story(app, observed, content, frozenset({app.revision(broken).id})):
        first = decided.first
        trouble = seen.failure_of(decided.wanted or "")
        if not isinstance(first, Start) or trouble is None or trouble.kind != "rejected" or seen.serves:
            continue
        if coming_up(seen, first.revision) is not None:
            continue
        back = [replace(p, address=app.address) for p in seen.known_good if p.build.id in seen.builds]
        back = [b for b in back if b.id != decided.wanted and not any(p.id == decided.wanted for p in seen.known_good)]
        if back and seen.failure_of(back[0].id) is None:
            assert first.revision == back[0]


@given(_running(may_sleep=True), st.sampled_from(CONTENTS))
def test_what_sleeps_is_only_woken_by_a_knock_or_to_gate_a_new_revision(situation: Running, content: str) -> None:
    app, observed = situation
    gated: list[str] = []
    for decided, seen, _ in _story(app, observed, content):
        if isinstance(decided.first, Start) and seen.sleep_state.activated_at is None and not seen.alive:
            woken = decided.first.revision.id
            if seen.sleep_state.gate_passed is None:
                assert not app.lazy
            else:
                assert woken not in (seen.sleep_state.gate_passed, None)
                gated.append(woken)
    assert len(gated) == len(set(gated))


@given(situations(), st.sampled_from(CONTENTS))
def test_nothing_is_put_to_sleep_that_somebody_asked_for_lately(situation: Situation, content: str) -> None:
    app, observed = situation
    for decided, seen, now in _story(app, observed, content):
        if isinstance(decided.first, Sleep):
            (one,) = (i for i in seen.instances if i.id == decided.first.instance)
            assert app is not None
            assert one.ready_at is not None
            assert (one.revision, [i for i in seen.alive if i is not one]) == (decided.first.revision, [])
            if seen.sleep_state.activated_at is not None:
                assert app.idle_after_s is not None
                assert now - max(one.ready_at, one.busy_at or 0, seen.sleep_state.activated_at) >= app.idle_after_s


@given(_running(), st.sampled_from(CONTENTS), st.sampled_from(CONTENTS))
def test_the_daemon_never_answers_while_an_instance_serves(situation: Running, content: str, broken: str) -> None:
    """Unless the manifest says maintenance."""
    app, observed = situation
    for decided, seen, now in _story(app, observed, content, frozenset({app.revision(broken).id})):
        if seen.serves:
            assert seen.holding == frozenset()
        elif seen.sleep_state.activated_at is None or now >= seen.sleep_state.activated_at + app.patience_s:
            asleep = app.address in seen.armed
            since = seen.unserved_since
            if app.address in seen.listeners and since is not None and now >= since + app.patience_s:
                assert asleep or app.address in seen.holding, decided


@given(situations())
def test_planning_is_a_function_and_what_is_planned_is_planned_once(situation: Situation) -> None:
    app, observed = situation
    decided = plan(app, observed, NOW)
    assert decided == plan(app, observed, NOW)
    assert len({str(a) for a in decided.actions}) == len(decided.actions)
    assert len({str(a) for a in decided.immediate}) == len(decided.immediate)


@given(situations(), st.sampled_from(CONTENTS))
def test_what_a_plan_foresees_is_what_is_done(situation: Situation, content: str) -> None:
    """Except after what may change the plan: reading a source, a burial, a start; a door is closed when it can be."""
    app, observed = situation
    observed = _attended_to(app, observed, NOW)
    decided = plan(app, observed, NOW)
    while decided.first is not None and not isinstance(decided.first, ReadSource | Reap | Start | MarkGood | Sleep):
        observed = after(observed, decided.first, NOW, content=content)
        foreseen = [a for a in decided.actions[1:] if not isinstance(a, Unlisten)]
        decided = plan(app, observed, NOW)
        assert [a for a in decided.actions if not isinstance(a, Unlisten)][: len(foreseen)] == foreseen


@given(situations())
def test_what_is_settled_has_nothing_left_to_do_and_is_as_asked(situation: Situation) -> None:
    app, observed = situation
    decided = plan(app, observed, NOW)
    event(f"{decided.state}, settled: {decided.settled}")
    if not decided.settled:
        return
    assert decided.actions == ()
    if decided.state == "running":
        assert app is not None
        assert is_served(app, "", replace(observed, holding=frozenset()), wanted_of(app, observed))
    elif decided.state == "sleeping":
        assert observed.alive == ()
    else:
        assert decided.state in ("stopped", "stopping", "maintenance")
        assert observed.instances == ()


@given(situations())
def test_a_second_look_is_due_in_the_future_or_not_at_all(situation: Situation) -> None:
    app, observed = situation
    seen = _attended_to(app, observed, NOW)
    again = plan(app, seen, NOW).recheck_at
    assert again is None or NOW < again < NOW + 1e6


@given(situations())
def test_until_the_next_look_is_due_time_alone_changes_nothing(situation: Situation) -> None:
    app, observed = situation
    seen = _attended_to(app, observed, NOW)
    decided = plan(app, seen, NOW)
    until = decided.recheck_at or NOW + 1e5
    for share in (0.3, 0.999):
        later = plan(app, seen, NOW + (until - NOW) * share)
        assert (later.actions, later.immediate, later.recheck_at) == (
            decided.actions, (), decided.recheck_at
        )  # fmt: skip


@given(situations())
def test_every_action_has_a_cause(situation: Situation) -> None:
    decided = plan(*situation, NOW)
    assert all(action.cause for action in (*decided.actions, *decided.immediate))


def test_a_listener_is_opened_only_where_the_app_is_asked_to_listen() -> None:
    opened = [a for a in plan(APP, Observed(source=a_look(APP)), NOW).actions if isinstance(a, Listen)]
    assert [a.address for a in opened] == [APP.address]


# Services


BOUND = Bound(service="db", type="sqlite", label="sqlite", plan="free", instance="i1", grant="g1", credentials="c1")
NEWER = replace(BOUND, grant="g2", credentials="c2")
BINDING = an_app(bindings=(Binding(service="db"),))
WITH = ExternalInputs(bound=(BOUND,), held={"db": BOUND})
WITHOUT = ExternalInputs(missing=("service db: it is being made",))
RAN = BINDING.revision("c1", (BOUND,))


def ran(inputs: ExternalInputs, **different: Any) -> Observed:
    """An app that ran with its service."""
    observed = replace(serving(BINDING), instances=(an_instance(RAN, "i1"),), known_good=(RAN,), inputs=inputs)
    return replace(observed, **different)


def test_an_app_waits_for_its_service_with_everything_else_made_ready() -> None:
    known = Observed(source=a_look(BINDING), inputs=WITHOUT)
    decided = plan(BINDING, known, NOW)
    assert [type(action) for action in decided.actions] == [Listen, Stage]
    assert (decided.state, decided.message) == ("pending", "waiting for service db: it is being made")
    assert not decided.settled


def test_what_runs_goes_on_while_a_service_is_missing() -> None:
    decided = plan(BINDING, ran(WITHOUT), NOW)
    assert (decided.actions, decided.state) == ((), "degraded")
    assert decided.message == f"waiting for service db: it is being made; revision {RAN.id} serves"


def test_what_ran_last_comes_back_while_another_service_is_missing() -> None:
    known = ran(replace(WITH, missing=("service other: it is down",)), instances=())
    (start,) = plan(BINDING, known, NOW).actions
    assert isinstance(start, Start)
    assert start.revision == RAN


def test_without_any_credentials_what_ran_last_cannot_come_back() -> None:
    assert plan(BINDING, ran(WITHOUT, instances=()), NOW).actions == ()


def test_new_credentials_are_handed_over() -> None:
    start, stop = plan(BINDING, ran(ExternalInputs(bound=(NEWER,), held={"db": NEWER})), NOW).actions
    assert isinstance(start, Start)
    assert start.revision == BINDING.revision("c1", (NEWER,))
    assert isinstance(stop, Stop)


def test_a_fallback_gets_the_credentials_of_today() -> None:
    other = replace(BINDING, env={"A": "B"})
    target = other.revision("c1", (NEWER,))
    known = ran(
        ExternalInputs(bound=(NEWER,), held={"db": NEWER}), instances=(), failures=(a_trouble(target, kind="rejected"),)
    )
    start = plan(other, replace(known, source=a_look(other)), NOW).first
    assert isinstance(start, Start)
    assert start.revision == BINDING.revision("c1", (NEWER,))


def test_a_revision_of_a_service_that_was_made_anew_is_none_to_fall_back_to() -> None:
    anew = replace(NEWER, instance="i2")
    other = replace(BINDING, env={"A": "B"})
    target = other.revision("c1", (anew,))
    known = ran(
        ExternalInputs(bound=(anew,), held={"db": anew}), instances=(), failures=(a_trouble(target, kind="rejected"),)
    )
    first = plan(other, replace(known, source=a_look(other)), NOW).first
    assert not isinstance(first, Start) or first.revision == target


def test_a_rollback_by_hand_outlives_a_rotation() -> None:
    back = replace(BINDING, env={"OLD": "1"}).revision("c1", (BOUND,))
    override = Override(kind="rolled back", holds_for=BINDING.revision("c1").id, revision=back)
    for bound in (BOUND, NEWER):
        decided = plan(BINDING, ran(ExternalInputs(bound=(bound,), held={"db": bound}), override=override), NOW)
        assert decided.wanted == replace(back, bindings=(bound,)).id


def test_a_value_that_is_no_longer_the_newest_is_told() -> None:
    decided = plan(BINDING, ran(replace(WITH, stale=("cannot read /x",))), NOW)
    assert (decided.actions, decided.state) == ((), "degraded")
    assert "cannot read /x" in decided.message
