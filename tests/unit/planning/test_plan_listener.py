"""Who answers at a listener while no instance does."""

from reconciler.planning.apps.actions import (
    ServeHoldingPage,
    Start,
)
from reconciler.planning.apps.observed import Observed, SleepState
from reconciler.planning.apps.plan import plan
from tests.support.plans import APP, TIRED, V1, at_once, crashed, lines
from tests.world import (
    ADDRESS,
    NOW,
    a_look,
    an_instance,
    serving,
    sleeping,
)


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
        stop serving the holding page on 127.0.0.1:8001: it is sleeping
        wait for a connection on 127.0.0.1:8001: it is sleeping
    """)
