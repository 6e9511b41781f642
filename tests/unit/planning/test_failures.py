"""Plans after exits and failures, and the delays before the next start."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.apps.actions import (
    Reap,
    RecordFailure,
    Start,
)
from reconciler.planning.apps.app import App, CrashPolicy
from reconciler.planning.apps.failures import crash_delay_s
from reconciler.planning.apps.observed import FailurePhase, ProcessFailure, ProcessStandings
from reconciler.planning.apps.plan import plan
from reconciler.planning.apps.revision import Server
from tests.support.plans import (
    APP,
    B2,
    BOTH,
    LATER,
    V1,
    V2,
    crashed,
    dead,
    deployed,
    lines,
    planned,
    remembered,
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
    with_instance,
)

# Crashing


def test_a_crash_is_cleaned_up_and_started_again_at_once() -> None:
    assert planned(APP, serving(APP, instances=(dead(),))) == lines("""
        clean up after instance i1: gunicorn 4242 was killed by SIGKILL
        start revision v1: the app was not running
    """)


def test_a_proven_revision_that_dies_has_crashed_and_is_not_bad() -> None:
    died = serving(APP, instances=(dead(ready_at=NOW - 1),))
    assert remembered(APP, died) == crashed(
        1, last_at=NOW, reason="gunicorn 4242 was killed by SIGKILL", workers=1, phase="serving"
    )


def test_what_dies_on_probation_is_bad() -> None:
    died = serving(APP, known_good=(), instances=(dead(ready_at=NOW - 9),))
    assert remembered(APP, died) == a_trouble(
        V1, last_at=NOW, reason="gunicorn 4242 was killed by SIGKILL", workers=1, phase="serving"
    )


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
    assert remembered(APP, died) == crashed(
        1, last_at=NOW, reason="gunicorn 4242 was killed by SIGKILL", workers=1, phase="serving"
    )


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


def test_what_failed_more_than_once_is_failing_also_while_it_is_tried_again() -> None:
    tried_at = NOW + 60
    failed = serving(APP, instances=(), failures=(crashed(3, last_at=NOW),))
    decided = plan(APP, failed, tried_at)
    assert decided.first is not None
    assert decided.state == "failing"
    assert decided.message == f"failed 3 times in a row, most recently: exited with 3; trying again: {decided.first}"
    coming = an_instance(V1, ready_at=None, started_at=tried_at, note="waiting for a lock")
    up = plan(APP, replace(failed, instances=(coming,)), tried_at + 1e6)
    assert (up.state, up.message.rpartition("; ")[2]) == ("failing", "trying again: waiting for a lock")


def test_what_failed_once_or_before_a_good_run_is_starting() -> None:
    once = serving(APP, instances=(), failures=(crashed(1, last_at=NOW),))
    assert plan(APP, once, NOW).state == "starting"
    long_ago = serving(APP, instances=(), failures=(crashed(3, last_at=NOW),))
    assert plan(APP, long_ago, NOW + crash_delay_s(APP.crash, 3, "blog") + APP.crash.good_run_s).state == "starting"


def test_a_crash_loop_of_another_revision_delays_nothing() -> None:
    looping = serving(APP, "c2", builds=BOTH, instances=(), failures=(crashed(9),), known_good=(V1,))
    assert planned(APP, looping) == "start revision v2: the app was not running"


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


def test_a_start_says_what_is_to_be_remembered_when_it_fails() -> None:
    first, again, crash = (
        deployed(),
        deployed(a_trouble(V2, count=3, last_at=NOW - 100)),
        serving(APP, instances=(), failures=(crashed(1),)),
    )
    told = [a.failing for o in (first, again, crash) for a in plan(APP, o, NOW).actions if isinstance(a, Start)]
    assert [(t.kind, t.count) for t in told] == [("rejected", 1), ("rejected", 4), ("crashed", 2)]


def test_its_time_come_it_is_tried_again_beside_what_serves() -> None:
    assert planned(APP, deployed(a_trouble(V2)), now=NOW + 1) == lines("""
        start revision v2: it failed: exited with 3
        stop instance i1: replaced by a new instance
    """)


def test_once_it_has_served_for_its_probation_a_revision_is_proven() -> None:
    young = serving(APP, known_good=(), instances=(an_instance(V1, ready_at=NOW - 9),))
    decided = plan(APP, young, NOW)
    assert (decided.actions, decided.state, decided.settled, decided.recheck_at) == ((), "running", True, NOW + 1)
    assert planned(APP, young, now=NOW + 1) == "mark revision v1 as good: it served for 10 s"


# Wishes of an operator


def test_an_unwell_instance_is_replaced_by_hand_over() -> None:
    unwell = serving(APP, instances=(an_instance(V1, unhealthy="GET /healthz answered 500"),))
    assert planned(APP, unwell) == lines("""
        start revision v1: the running instance is unhealthy: GET /healthz answered 500
        stop instance i1: replaced by a new instance
    """)


def test_an_unwell_instance_whose_successor_fails_serves_on() -> None:
    unwell = serving(APP, instances=(an_instance(V1, unhealthy="GET /healthz answered 500"),), failures=(crashed(4),))
    decided = plan(APP, unwell, NOW)
    assert (decided.actions, decided.state) == ((), "degraded")


def test_an_instance_that_was_ended_for_its_failed_start_is_told_as_that_and_not_as_killed() -> None:
    ended = an_instance(V2, ready_at=None, end="was ended by SIGKILL", failed_start="ValueError: no key (wsgi.py:1)")
    first = plan(APP, serving(APP, "c2", builds=BOTH, instances=(an_instance(V1), ended)), NOW).first
    assert isinstance(first, Reap)
    assert first.failure is not None
    assert first.failure.reason == first.cause == "ValueError: no key (wsgi.py:1)"


def test_the_death_of_a_worker_on_probation_is_told_with_how_it_ended_and_what_the_app_said() -> None:
    lost = an_instance(V2, workers_died=1, ready_at=NOW - 3, worker_end="exited with 7", said="dying now")
    first = plan(APP, serving(APP, "c2", builds=BOTH, instances=(lost,), known_good=(V1,)), NOW).first
    assert isinstance(first, RecordFailure)
    assert first.failure.reason == "a worker of gunicorn 4242 exited with 7 on probation; it said: dying now"


def test_an_instance_that_loses_a_worker_on_probation_gives_way_to_what_was_proven_last() -> None:
    lost = an_instance(V2, workers_died=1, ready_at=NOW - 3)
    fell = serving(APP, "c2", builds=BOTH, instances=(lost,), known_good=(V1,))
    blame = plan(APP, fell, NOW).first
    assert str(blame) == "record the failure of instance i1"
    assert isinstance(blame, RecordFailure)
    blamed = after(fell, blame, NOW)
    assert planned(APP, blamed) == lines("""
        start revision v1: revision v2 cannot serve: a worker of gunicorn 4242 exited on probation
    """)
    back = with_instance(blamed, an_instance(V1, "i2", ready_at=NOW))
    decided = plan(APP, back, NOW)
    assert [str(action) for action in decided.actions] == ["stop instance i1"]
    assert decided.state == "degraded"
    assert (decided.recheck_at, decided.retry_at) == (None, None)
    assert decided.message.endswith(f"{V1.id} serves; tried again after an edit or 'reconciler restart blog'")


def test_a_revision_that_failed_its_clients_is_not_given_to_them_again_while_another_one_can_serve() -> None:
    failed = deployed(a_trouble(V2, phase="serving", count=3))
    assert (planned(APP, failed, now=LATER), plan(APP, failed, LATER).state) == ("", "degraded")
    rebooted = replace(failed, instances=(), failures=(a_trouble(V2, phase="serving", last_at=0.0),))
    assert planned(APP, rebooted, now=LATER).startswith("start revision v1: revision v2 cannot serve")
    asleep = replace(failed, instances=(), known_good=(), builds=(B2.id,))
    assert planned(APP, asleep, now=LATER).startswith("start revision v2: it failed")


@pytest.mark.parametrize("phase", ["starting", "serving", "releasing"])
def test_what_failed_often_is_tried_at_once_when_an_operator_requests_a_restart_and_not_sooner_after_that(
    phase: FailurePhase,
) -> None:
    failed = deployed(a_trouble(V2, phase=phase, count=40, workers=1, last_at=NOW - 2))
    app = replace(APP, retries_release=True)
    assert not any(isinstance(action, Start) for action in plan(app, failed, NOW).actions)
    asked = replace(failed, restart_before=NOW - 1)
    assert any(isinstance(action, Start) for action in plan(app, asked, NOW).actions)
    again = replace(asked, failures=(a_trouble(V2, phase=phase, count=41, workers=1, last_at=NOW - 0.5),))
    assert not any(isinstance(action, Start) for action in plan(app, again, NOW).actions)


@pytest.mark.parametrize(
    ("app", "restart_before"),
    [(replace(APP, env={"A": "1"}), 0.0), (an_app(server=Server(workers=3)), 0.0), (APP, NOW)],
    ids=["an edit", "another number of workers", "a request"],
)
def test_a_revision_that_failed_its_clients_is_tried_again_by_hand(app: App, restart_before: float) -> None:
    failed = deployed(a_trouble(V2, phase="serving", workers=1), restart_before=restart_before)
    assert planned(APP, deployed(a_trouble(V2, phase="serving", workers=1)), now=NOW + 2) == ""
    assert any(isinstance(action, Start) for action in plan(app, failed, NOW + 2).actions)


def test_an_instance_that_loses_workers_with_nothing_to_go_back_to_serves_on_until_its_successor_does() -> None:
    lost = an_instance(V1, workers_died=3, ready_at=NOW - 3)
    blamed = serving(APP, instances=(lost,), known_good=(), failures=(a_trouble(V1, last_at=NOW - 1, count=2),))
    decided = plan(APP, blamed, NOW)
    assert (decided.actions, decided.state) == ((), "degraded")
    assert decided.message.endswith("the instance keeps serving")
    assert decided.recheck_at is not None
    assert planned(APP, blamed, now=decided.recheck_at) == lines("""
        start revision v1: it failed: exited with 3
        stop instance i1: replaced by a new instance
    """)


def test_an_instance_that_loses_a_worker_after_its_probation_is_left_to_gunicorn() -> None:
    assert planned(APP, serving(APP, instances=(an_instance(V1, workers_died=3),))) == ""


def test_a_process_that_ends_on_probation_blames_the_revision_unless_nothing_else_could_serve() -> None:
    ended = ProcessFailure(revision=V2.id, reason="its process worker.1 exited with 1", at=NOW - 1)
    new = an_instance(V2, ready_at=NOW - 3)
    fell = serving(APP, "c2", builds=BOTH, instances=(new,), known_good=(V1,))
    assert planned(APP, fell) == ""
    blame = plan(APP, replace(fell, processes=ProcessStandings(failures=(ended,))), NOW).first
    assert isinstance(blame, RecordFailure)
    assert blame.failure.reason == "its process worker.1 exited with 1"
    before = replace(ended, at=new.started_at - 1)
    assert planned(APP, replace(fell, processes=ProcessStandings(failures=(before,)))) == ""
    alone = replace(fell, known_good=(), processes=ProcessStandings(failures=(ended,)))
    assert not any(isinstance(action, RecordFailure) for action in plan(APP, alone, NOW).actions)


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
