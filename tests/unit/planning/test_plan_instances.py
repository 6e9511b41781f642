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
from reconciler.planning.apps.failures import crash_delay_s
from reconciler.planning.apps.observed import Observed
from reconciler.planning.apps.plan import plan
from reconciler.planning.apps.revision import CodeCommands, Server
from tests.support.plans import (
    APP,
    B1,
    B2,
    B3,
    DOOR_2,
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
    retiring = serving(APP, instances=(an_instance(V2, stopping_since=NOW - 1), an_instance(V1, "i2")))
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
    retiring = serving(APP, instances=(an_instance(V2, stopping_since=NOW - 1), an_instance(V1, "i2")))
    assert planned(APP, retiring) == "stop instance i1: replaced by a new instance"
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
        run the release command of build b1: it was never run
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
        run the release command of build b1: it was never run
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
    waits = serving(APP, instances=(an_instance(V1, note="1 of its workers waits: GET /healthz answered 500"),))
    decided = plan(APP, waits, NOW)
    assert (decided.actions, decided.state, decided.settled) == ((), "degraded", False)
    assert decided.message == "1 of its workers waits: GET /healthz answered 500"
