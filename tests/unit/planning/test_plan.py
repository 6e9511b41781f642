"""Plans of apps that are to stop, to be maintained, to wait for others, or whose source is to be read."""

from dataclasses import replace

import pytest

from reconciler.planning.apps.actions import ServeHoldingPage, Stage
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Instance, Observed, Override
from reconciler.planning.apps.plan import plan
from reconciler.planning.apps.plan_instances import state_when_failing
from reconciler.planning.apps.revision import Source
from reconciler.planning.reason import Reason
from tests.support.plans import (
    APP,
    B1,
    B2,
    BOTH,
    DOOR_2,
    LATER,
    V1,
    V2,
    at_once,
    dead,
    deployed,
    lines,
    planned,
)
from tests.world import (
    ADDRESS,
    NOW,
    a_look,
    a_trouble,
    an_app,
    an_instance,
    serving,
)

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


# Maintenance


def test_maintenance_ends_what_runs_and_keeps_the_door_which_the_daemon_answers() -> None:
    app = replace(APP, state="maintenance", holding_page="/apps/503.html")
    assert planned(app, serving(APP)) == "stop instance i1: its manifest says state: maintenance"
    assert plan(app, serving(APP), NOW).immediate == (
        ServeHoldingPage(address=ADDRESS, page="/apps/503.html", cause=""),
    )
    assert {each.reason for each in plan(app, serving(APP), NOW).immediate} == {Reason.MAINTENANCE}
    held = serving(app, instances=(), holding=frozenset({ADDRESS}))
    decided = plan(app, held, NOW)
    assert (decided.actions, decided.immediate, decided.state, decided.settled) == ((), (), "maintenance", True)


def test_an_operator_may_ask_for_maintenance_until_the_manifest_changes() -> None:
    override = Override(kind="maintenance", holds_for=APP.fingerprint)
    decided = plan(APP, serving(APP, override=override), NOW)
    assert [str(action) for action in decided.actions] == ["stop instance i1"]
    assert {(each.reason, each.cause) for each in decided.immediate} == {
        (Reason.MAINTENANCE_BY_OPERATOR, "in maintenance by an operator, until its manifest changes")
    }
    assert decided.state == "maintenance"
    assert plan(replace(APP, patience_s=9.0), serving(APP, override=override), NOW).state == "running"


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
    assert (planned(APP, held), at_once(APP, held)) == ("start revision v1: the app was not running", "")
    ready = replace(held, instances=(an_instance(V1),))
    assert at_once(APP, ready) == "stop serving the holding page on 127.0.0.1:8001: an instance serves"


# Depending on one another


NEEDY = an_app(depends_on=("api",))


def test_what_depends_on_another_is_made_ready_and_waits_for_it() -> None:
    first = Observed(source=a_look(NEEDY), unmet_dependencies=("api",))
    assert planned(NEEDY, first) == lines("""
        listen on 127.0.0.1:8001: 127.0.0.1:8001 is not open
        stage build b1: first build of the app
    """)
    decided = plan(NEEDY, serving(NEEDY, instances=(), unmet_dependencies=("api",)), NOW)
    assert (decided.actions, decided.state, decided.message) == ((), "pending", "waiting for api")
    assert decided.settled is False
    assert planned(NEEDY, serving(NEEDY, instances=())) == "start revision v1: the app was not running"


def test_what_serves_does_not_stop_nor_wait_because_another_is_gone() -> None:
    assert planned(NEEDY, serving(NEEDY, unmet_dependencies=("api",))) == ""
    changed = serving(NEEDY, source=a_look(NEEDY, "c2"), builds=BOTH, unmet_dependencies=("api",))
    assert planned(NEEDY, changed) == lines("""
        start revision v2: its code changed
        stop instance i1: replaced by a new instance
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


def test_a_removed_app_waits_for_what_still_runs_from_one_of_its_builds() -> None:
    left = serving(APP, builds=(B1.id, B2.id), builds_in_use=frozenset({B1.id}), instances=(), listeners=frozenset())
    assert planned(None, left) == "remove build b2: its manifest was removed"
    waiting = plan(None, replace(left, builds=(B1.id,)), NOW)
    assert (waiting.actions, waiting.settled, waiting.reportable) == ((), False, True)
    assert waiting.message == "its manifest was removed; waiting for its processes and tasks to end"
    assert planned(None, replace(left, builds_in_use=frozenset())) == lines("""
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
    assert planned(APP, unreadable).splitlines()[-1] == "start revision v1: the app was not running"


def test_a_source_that_cannot_be_read_is_told_before_an_older_failure_and_nothing_is_staged_from_it() -> None:
    source = a_look(APP, stale=True, problem="it is gone", tried_at=NOW - 10)
    failed = serving(APP, source=source, instances=(), known_good=(), failures=(a_trouble(V1, count=2),))
    decided = plan(APP, failed, NOW)
    assert (decided.state, decided.settled) == ("failing", False)
    assert decided.message.startswith("it is gone; ")
    unstaged = plan(APP, replace(failed, failures=(), builds=()), NOW)
    assert (unstaged.state, unstaged.message) == ("failing", "it is gone")
    assert not any(isinstance(action, Stage) for action in unstaged.actions)


def test_a_source_in_which_a_program_writes_is_told_and_serves() -> None:
    decided = plan(APP, serving(APP, source=replace(a_look(APP), busy="debug.log grows")), NOW)
    assert (decided.actions, decided.state, decided.message) == ((), "degraded", "debug.log grows")


@pytest.mark.parametrize(
    ("instances", "state"),
    [((an_instance(V2),), "degraded"), ((an_instance(V2, ready_at=None),), "failing"), ((), "failing")],
)
def test_an_app_whose_next_action_fails_is_degraded_while_anything_of_it_serves(
    instances: tuple[Instance, ...], state: str
) -> None:
    assert state_when_failing(serving(APP, instances=instances)) == state
