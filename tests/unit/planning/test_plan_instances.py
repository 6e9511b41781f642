"""Plans of deploys: staging, starting, handing over, and cleaning up after."""

from dataclasses import replace
from typing import Any

import pytest

from reconciler.planning.apps.actions import (
    Release,
    Start,
    Stop,
)
from reconciler.planning.apps.app import App
from reconciler.planning.apps.code_commands import NO_COMMANDS, CodeCommands
from reconciler.planning.apps.observed import Observed
from reconciler.planning.apps.plan import plan
from reconciler.planning.apps.plan_preparation import prepared
from reconciler.planning.apps.revision import Server
from reconciler.planning.reason import Reason
from tests.support.plans import (
    APP,
    B1,
    B2,
    B3,
    DOOR_2,
    LATER,
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
    after,
    an_app,
    an_instance,
    serving,
)

# Deploying


def test_an_app_never_seen_is_read_first() -> None:
    assert planned(APP, Observed()) == "read source /apps/blog: its source was never read"


def test_the_first_deploy_stages_listens_and_starts() -> None:
    assert planned(APP, Observed(source=a_look(APP))) == lines("""
        listen on 127.0.0.1:8001: 127.0.0.1:8001 is not open
        stage build b1: first build of the app
        start revision v1: the app was not running
    """)


def test_an_app_as_asked_has_nothing_to_do() -> None:
    decided = plan(APP, serving(APP), NOW)
    assert (decided.actions, decided.state, decided.message) == ((), "running", "")
    assert (decided.wanted, decided.recheck_at, decided.settled) == (V1.id, None, True)


def test_changed_code_is_staged_and_takes_over_before_the_old_instance_stops() -> None:
    assert planned(APP, serving(APP, source=a_look(APP, "c2"))) == lines("""
        stage build b2: its source or its build settings changed
        start revision v2: its code changed
        stop instance i1: replaced by a new instance
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
        stop instance i1: replaced by a new instance
    """)


def test_a_changed_port_is_opened_first_and_the_old_one_closed_last() -> None:
    assert planned(replace(APP, address=DOOR_2), serving(APP)) == lines("""
        listen on 127.0.0.1:8002: 127.0.0.1:8002 is not open
        start revision v2: its configuration changed
        stop instance i1: replaced by a new instance
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
        stop instance i1: replaced by a new instance
    """)


def test_an_edit_while_the_old_one_is_being_retired_lets_it_go_first() -> None:
    slow = an_instance(V2, stopping_since=NOW - 1, stop_timeout_s=90.0)
    retiring = serving(APP, instances=(slow, an_instance(V1, "i2")))
    edited = replace(APP, server=Server(threads=2))
    assert planned(edited, retiring) == lines("""
        stop instance i1: it is no longer needed
        start revision v2: its configuration changed
        stop instance i2: replaced by a new instance
    """)


def test_an_edit_undone_while_the_old_one_is_being_retired_starts_it_anew() -> None:
    retiring = serving(
        APP, "c1", instances=(an_instance(V1, stopping_since=NOW - 1), an_instance(V2, "i2")), builds=(B1.id, B2.id)
    )
    assert planned(APP, retiring) == lines("""
        stop instance i1: it is no longer needed
        start revision v1: its configuration changed
        stop instance i2: replaced by a new instance
    """)


def test_a_fix_pushed_while_a_start_keeps_failing_goes_first() -> None:
    broken = serving(APP, source=a_look(APP, "c2", stale=True), builds=(B1.id, B2.id), source_generation=7)
    assert planned(APP, broken) == "read source /apps/blog: its source changed"


# Finishing what was begun


def test_an_instance_found_not_ready_is_waited_for() -> None:
    assert (
        planned(APP, serving(APP, instances=(an_instance(V1, ready_at=None),)))
        == "start revision v1: the app was not running"
    )


def test_of_two_instances_of_the_wanted_revision_the_readiest_stays() -> None:
    twins = serving(APP, instances=(an_instance(V1, ready_at=None, started_at=NOW - 200), an_instance(V1, "i2")))
    assert planned(APP, twins) == "stop instance i1: replaced by a new instance"


def test_an_old_instance_told_to_stop_is_seen_off() -> None:
    slow = an_instance(V2, stopping_since=NOW - 1, stop_timeout_s=90.0)
    retiring = serving(APP, instances=(slow, an_instance(V1, "i2")))
    assert planned(APP, retiring) == "stop instance i1: replaced by a new instance"
    decided = plan(APP, retiring, NOW)
    assert (decided.state, decided.reason, decided.settled) == ("running", Reason.HANDING_OVER, False)
    assert decided.message == (
        "deployed; the previous instance (pid 4242) is finishing its requests; it is killed after 90 s (stop_timeout)"
    )


def test_a_revision_that_was_in_force_without_an_instance_finishes_no_requests() -> None:
    """As that of an app in a cluster, where pods of it may finish theirs."""
    replaced = serving(APP, instances=(an_instance(V2, pid=0, stopping_since=NOW - 1), an_instance(V1, "i2", pid=0)))
    decided = plan(APP, replaced, NOW)
    assert (decided.state, decided.message) == ("running", "")


def test_an_app_that_is_stopped_says_when_an_instance_that_does_not_end_is_killed() -> None:
    slow = an_instance(V1, stopping_since=NOW - 1, stop_timeout_s=5.0)
    starting = an_instance(V2, "i2", ready_at=None)
    for app in (None, replace(APP, state="stopped")):
        said = plan(app, serving(APP, instances=(slow, starting)), NOW).message
        assert said.endswith(
            "; its instance (pid 4242) is finishing its requests; it is killed after 5 s (stop_timeout)"
        )
        assert ";" not in plan(app, serving(APP, instances=(starting,)), NOW).message


def test_what_never_served_is_killed_at_once_and_what_served_finishes_its_requests() -> None:
    both = (an_instance(V1), an_instance(V2, "i2", ready_at=None))
    hanging = serving(APP, "c3", builds=(B1.id, B2.id, B3.id), instances=both)
    ends = {a.instance: a.at_once for a in plan(APP, hanging, NOW).actions if isinstance(a, Stop)}
    assert ends == {"i1": False, "i2": True}
    for app in (None, replace(APP, state="stopped"), replace(APP, state="maintenance")):
        ends = {a.instance: a.at_once for a in plan(app, hanging, NOW).actions if isinstance(a, Stop)}
        assert ends == {"i1": False, "i2": True}


def test_an_app_that_serves_is_running_while_it_is_deployed_and_degraded_once_that_failed() -> None:
    changed = serving(APP, source=a_look(APP, "c2"))
    decided = plan(APP, changed, NOW)
    assert (decided.state, decided.settled) == ("running", False)
    assert decided.message == "deploying: its source or its build settings changed"
    again = plan(APP, deployed(a_trouble(V2)), LATER)
    assert (again.state, again.message) == (
        "degraded",
        f"trying again, as revision {V2.id} failed: exited with 3; revision {V1.id} serves",
    )


def test_builds_of_what_is_wanted_alive_or_proven_are_kept_and_others_go_once_the_wanted_one_is_proven() -> None:
    unproven = serving(
        APP, "c3", builds=(B1.id, B2.id, B3.id), known_good=(V2,), instances=(an_instance(V3, "i1", ready_at=NOW),)
    )
    assert planned(APP, unproven) == ""
    assert planned(APP, replace(unproven, known_good=(V3, V2))) == "remove build b1: newer builds replaced it"
    used = replace(unproven, known_good=(V3, V2), builds_in_use=frozenset({B1.id}))
    assert planned(APP, used) == ""


def test_a_listener_that_could_not_be_fetched_back_gets_a_successor() -> None:
    assert planned(APP, serving(APP, instances=(an_instance(V1, detached=True),))) == lines("""
        start revision v1: the running instance has lost the app's listener
        stop instance i1: replaced by a new instance
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
        stop instance newer: replaced by a new instance
    """)


# Release commands


MIGRATING = an_app(release="migrate")


def test_a_release_command_is_run_once_between_staging_and_starting() -> None:
    first = Observed(source=a_look(MIGRATING), listeners=frozenset({ADDRESS}))
    staged = after(first, plan(MIGRATING, first, NOW).actions[0], NOW)
    assert planned(MIGRATING, first) == lines("""
        stage build b1: first build of the app
        run the release command of build b1: first release command of the app
        start revision v2: the app was not running
    """)
    released = after(staged, plan(MIGRATING, staged, NOW).actions[0], NOW)
    assert planned(MIGRATING, released) == "start revision v2: the app was not running"


def test_commands_that_the_code_asks_for_are_run_once_its_build_is_there() -> None:
    app = an_app()
    first = Observed(source=a_look(app), listeners=frozenset({ADDRESS}))
    staged = after(first, plan(app, first, NOW).actions[0], NOW)
    asking = replace(staged, commands={staged.builds[0]: CodeCommands(release="migrate")})
    assert planned(app, asking) == lines("""
        run the release command of build b1: first release command of the app
        start revision v1: the app was not running
    """)
    released = after(asking, plan(app, asking, NOW).actions[0], NOW)
    assert planned(app, released) == "start revision v1: the app was not running"


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


@pytest.mark.parametrize("state", ["beside what serves", "alone", "asleep"])
def test_a_release_command_that_failed_is_not_run_again_before_an_edit_or_a_request(state: str) -> None:
    """It may have done half of what it does, and a database does not always take that back."""
    app = replace(MIGRATING, lazy=True) if state == "asleep" else MIGRATING
    bad = a_trouble(app.revision("c2"), phase="releasing", count=3, workers=1)
    failed = deployed(bad, source=a_look(app, "c2"))
    if state != "beside what serves":
        armed = frozenset({ADDRESS} if app.lazy else ())
        failed = replace(failed, instances=(), known_good=(), builds=(B2.id,), armed=armed, unserved_since=None)
    decided = plan(app, failed, LATER)
    assert (decided.actions, decided.retry_at, decided.settled) == ((), None, False)
    assert decided.message.endswith("tried again after an edit or 'reconciler restart blog'")
    edited = replace(app, server=replace(app.server, threads=2))
    for by in (plan(edited, failed, LATER), plan(app, replace(failed, restart_before=NOW), LATER)):
        assert Release in {type(action) for action in by.actions}


def test_a_lazy_app_that_never_served_has_a_revision_for_its_tasks_once_it_is_released() -> None:
    app = replace(MIGRATING, lazy=True)
    revision = app.revision("c1")
    released = frozenset(filter(None, (revision.release_mark(NO_COMMANDS),)))
    waiting = Observed(source=a_look(app, "c1"), builds=(revision.build.id,), released=released)
    assert prepared(app, waiting) == revision
    assert prepared(app, replace(waiting, released=frozenset())) is None
    assert prepared(app, replace(waiting, builds=())) is None
    assert prepared(app, replace(waiting, failures=(a_trouble(revision, phase="releasing"),))) is None
    assert (
        prepared(app, replace(waiting, source=None)) is prepared(None, waiting) is prepared(MIGRATING, waiting) is None
    )


# Wishes of an operator


def test_a_restart_asked_for_is_a_hand_over_to_an_instance_of_the_same_revision() -> None:
    asked = serving(APP, restart_before=NOW - 10)
    assert planned(APP, asked) == lines("""
        start revision v1: an operator requested a restart
        stop instance i1: replaced by a new instance
    """)
    successor = an_instance(V1, "i2", started_at=NOW - 5, ready_at=NOW - 4)
    both = replace(asked, instances=(*asked.instances, successor))
    assert planned(APP, both) == "stop instance i1: replaced by a new instance"
    assert planned(APP, replace(asked, instances=(successor,))) == ""


def test_what_a_worker_says_of_itself_is_shown() -> None:
    waits = serving(APP, instances=(an_instance(V1, note="1 worker waiting: GET /healthz answered 500"),))
    decided = plan(APP, waits, NOW)
    assert (decided.actions, decided.state, decided.settled) == ((), "degraded", False)
    assert decided.message == "1 worker waiting: GET /healthz answered 500"


def test_a_deploy_tells_how_far_the_instance_that_starts_has_come() -> None:
    note = "still importing at app.py:1, 35 s of 60 s"
    both = (an_instance(V2), an_instance(V1, "i2", ready_at=None, note=note))
    decided = plan(APP, serving(APP, instances=both), NOW)
    assert (decided.state, decided.reason) == ("running", Reason.WORKER_WAITING)
    assert decided.message == f"deploying: {note}"


def test_a_release_command_that_failed_is_run_again_by_itself_only_if_its_manifest_says_so() -> None:
    app = replace(APP, release="migrate")
    bad = a_trouble(app.revision("c2"), phase="releasing", count=1, last_at=NOW - 1e4)
    failed = replace(serving(APP), source=a_look(app, "c2"), builds=(B1.id, app.build("c2").id), failures=(bad,))
    assert plan(app, failed, NOW).actions == ()
    retried = plan(replace(app, retries_release=True), failed, NOW)
    assert [type(action) for action in retried.actions[:2]] == [Release, Start]
    soon = replace(failed, failures=(replace(bad, last_at=NOW - 0.1),))
    waiting = plan(replace(app, retries_release=True), soon, NOW)
    assert waiting.actions == ()
    assert waiting.retry_at is not None
