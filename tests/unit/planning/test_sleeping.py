"""Plans of apps that sleep and are woken by a connection."""

from dataclasses import replace

import pytest

from reconciler.planning.apps.actions import (
    Sleep,
    Start,
)
from reconciler.planning.apps.failures import crash_delay_s
from reconciler.planning.apps.observed import Observed, SleepState
from reconciler.planning.apps.plan import plan
from tests.support.plans import (
    APP,
    BOTH,
    LATER,
    LAZY,
    TIRED,
    V1,
    V2,
    at_once,
    crashed,
    planned,
)
from tests.support.stories import (
    story_of,
)
from tests.world import (
    NOW,
    a_look,
    a_trouble,
    an_instance,
    serving,
    sleeping,
)


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
    assert at_once(TIRED, fallen) == "wait for a connection on 127.0.0.1:8001: it is sleeping"


def test_a_knock_wakes_and_a_waking_app_isrunning_apps() -> None:
    knocked = sleeping(TIRED, sleep_state=SleepState(gate_passed=V1.id, activated_at=NOW), armed=frozenset())
    assert planned(TIRED, knocked) == "start revision v1: a request arrived"
    assert (plan(TIRED, knocked, NOW).state, at_once(TIRED, knocked)) == ("running", "")


def test_what_sleeps_is_staged_released_and_gated_once_when_it_changes_and_sleeps_on() -> None:
    app = replace(TIRED, release="migrate")
    changed = sleeping(app, source=a_look(app, "c2"))
    v2 = app.revision("c2")
    story = [d.first for d, _, _ in story_of(app, changed, "c2") if d.first is not None]
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


def test_what_is_lazy_is_staged_and_not_even_gated_before_somebody_knocks() -> None:
    story = [d.first for d, _, _ in story_of(LAZY, Observed(), "c1")]
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
    assert planned(TIRED, finishing) == "stop instance i1: the app is sleeping"
    assert at_once(TIRED, finishing) == "wait for a connection on 127.0.0.1:8001: it is sleeping"
    knocked = replace(finishing, sleep_state=SleepState(gate_passed=V1.id, activated_at=NOW))
    first = plan(TIRED, knocked, NOW).first
    assert isinstance(first, Start)


def test_the_half_started_of_what_sleeps_is_ended() -> None:
    left = sleeping(TIRED, instances=(an_instance(V2, ready_at=None),))
    assert planned(TIRED, left) == "stop instance i1: the app is sleeping"


def test_an_app_whose_workers_do_not_count_their_requests_never_sleeps_and_says_so() -> None:
    uncounted = serving(TIRED, instances=(an_instance(V1, busy_at=NOW, never_idle=True),))
    decided = plan(TIRED, uncounted, NOW)
    assert (decided.state, decided.message) == (
        "running",
        "it never sleeps: its worker class does not tell whether it is busy",
    )
