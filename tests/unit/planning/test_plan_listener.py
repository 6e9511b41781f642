"""Who answers at a listener while no instance does."""

from dataclasses import replace

from reconciler.planning.address import Address
from reconciler.planning.apps.actions import (
    ServeHoldingPage,
    Start,
    Stop,
)
from reconciler.planning.apps.observed import ExternalInputs, Observed, SleepState
from reconciler.planning.apps.plan import plan
from tests.support.plans import APP, DOOR_2, LATER, TIRED, V1, at_once, crashed, deployed, lines, planned
from tests.world import (
    ADDRESS,
    NOW,
    a_look,
    a_trouble,
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


# An address that passes from one to another

MOVED = replace(APP, address=DOOR_2)


def test_an_address_is_opened_only_with_the_instance_that_is_to_serve_there() -> None:
    """Clients of a new address would wait in vain as long as what is to serve there waits itself."""
    waits = serving(APP, inputs=ExternalInputs(missing=("service db: no such service",)))
    assert planned(MOVED, waits) == ""
    staging = serving(APP, source=a_look(APP, "c3"))
    assert planned(MOVED, staging).splitlines()[0] == "stage build b3: its source or its build settings changed"
    assert planned(MOVED, staging).splitlines()[1] == "listen on 127.0.0.1:8002: 127.0.0.1:8002 is not open"


def test_an_address_whose_instance_failed_is_closed_until_the_next_one_starts() -> None:
    bad = a_trouble(MOVED.revision("c1"), count=5)
    failed = serving(APP, listeners=frozenset({ADDRESS, DOOR_2}), failures=(bad,))
    assert planned(MOVED, failed) == "close 127.0.0.1:8002: no instance listens on 127.0.0.1:8002 yet"
    assert planned(MOVED, failed, now=LATER) == lines("""
        start revision v2: it failed: exited with 3
        stop instance i1: replaced by a new instance
        close 127.0.0.1:8001: it listens on 127.0.0.1:8002 now
    """)


def test_clients_of_an_address_where_a_start_takes_too_long_are_answered_though_another_one_is_served() -> None:
    slow = serving(APP, listeners=frozenset({ADDRESS, DOOR_2}), unserved_since=NOW - 4)
    assert (at_once(MOVED, slow), plan(MOVED, slow, NOW).recheck_at) == ("", NOW + 1)
    assert at_once(MOVED, slow, now=NOW + 1) == "serve the holding page on 127.0.0.1:8002: no instance can serve"


def test_what_listens_where_another_app_serves_by_now_is_stopped_at_once() -> None:
    ceded = serving(APP, ceded=frozenset({ADDRESS}))
    assert planned(MOVED, ceded) == lines("""
        stop instance i1: another app serves at its address now
        listen on 127.0.0.1:8002: 127.0.0.1:8002 is not open
        start revision v2: its configuration changed
        close 127.0.0.1:8001: it listens on 127.0.0.1:8002 now
    """)
    assert plan(MOVED, ceded, NOW).state == "starting"


def test_an_app_whose_address_is_another_ones_goes_back_to_what_is_known_good_at_its_own() -> None:
    bad = a_trouble(MOVED.revision("c2"))
    ceded = deployed(bad, ceded=frozenset({ADDRESS}))
    assert [str(a) for a in plan(MOVED, ceded, NOW).actions if isinstance(a, Stop | Start)] == [
        "stop instance i1",
        f"start revision {replace(V1, address=DOOR_2).id}",
    ]
    assert plan(MOVED, ceded, NOW).state == "failing"


def test_another_way_to_write_the_address_changes_nothing() -> None:
    renamed = replace(APP, address=Address(host="localhost", port=8001))
    assert (planned(renamed, serving(APP)), at_once(renamed, serving(APP))) == ("", "")
