"""An app at a socket and at a port beside it: each listener is opened, served, answered for and closed by itself."""

from dataclasses import asdict, replace

from reconciler.planning.address import Address
from reconciler.planning.apps.actions import Start
from reconciler.planning.apps.observed import Observed, SleepState
from reconciler.planning.apps.plan import plan
from reconciler.planning.apps.revision import revision_from
from tests.support.plans import at_once, crashed, planned
from tests.world import ADDRESS, NOW, a_look, a_trouble, an_app, an_instance, serving, sleeping

SOCKET = Address(host="/s/listeners/blog.sock")
OTHER = Address(host="127.0.0.1", port=8002)
APP = an_app(address=SOCKET, beside=ADDRESS)
MOVED = replace(APP, beside=OTHER)
V1, AT_OTHER = APP.revision("c1"), MOVED.revision("c1")


def test_both_are_opened_before_the_first_instance() -> None:
    told = [str(action) for action in plan(APP, Observed(source=a_look(APP), builds=(V1.build.id,)), NOW).actions]
    assert told == [f"listen on {SOCKET}", "listen on 127.0.0.1:8001", f"start revision {V1.id}"]
    assert plan(APP, serving(APP), NOW).actions == ()


def test_another_port_is_opened_with_the_instance_that_is_to_serve_there_and_the_former_one_closed_after_it() -> None:
    before = serving(APP)
    assert planned(MOVED, before).splitlines()[0].startswith("listen on 127.0.0.1:8002")
    unstaged = serving(APP, builds=(), source=a_look(MOVED, "c2"))
    first = planned(MOVED, unstaged).splitlines()[0]
    assert first.startswith("stage build"), "no client is let in before there is anything to start"
    new = an_instance(AT_OTHER, "i2", started_at=NOW - 1, ready_at=NOW)
    both = replace(before, listeners=before.listeners | {OTHER}, instances=(*before.instances, new))
    told = [str(action) for action in plan(MOVED, both, NOW).actions]
    assert told == ["stop instance i1", "close 127.0.0.1:8001"]


def test_another_port_at_which_no_instance_starts_is_closed_again_and_the_socket_is_served_all_the_while() -> None:
    failed = serving(APP, failures=(a_trouble(AT_OTHER, count=5),))
    opened = replace(failed, listeners=failed.listeners | {OTHER})
    assert planned(MOVED, opened) == "close 127.0.0.1:8002: no instance listens on 127.0.0.1:8002 yet"
    assert planned(MOVED, failed) == ""


def test_only_the_listener_at_which_no_instance_serves_is_answered_for() -> None:
    starting = an_instance(AT_OTHER, "i2", started_at=NOW - 9, ready_at=None)
    slow = serving(APP)
    slow = replace(
        slow, listeners=slow.listeners | {OTHER}, instances=(*slow.instances, starting), unserved_since=NOW - 9
    )
    assert at_once(MOVED, slow) == "serve the holding page on 127.0.0.1:8002: no instance can serve"
    looping = serving(APP, instances=(), failures=(replace(crashed(5), revision=V1.id),), unserved_since=NOW - 9)
    assert at_once(APP, looping).splitlines() == [
        f"serve the holding page on {address}: no instance can serve" for address in (SOCKET, ADDRESS)
    ]


def test_a_client_of_either_wakes_it() -> None:
    tired = replace(APP, idle_after_s=60.0)
    asleep = sleeping(tired, armed=frozenset())
    assert at_once(tired, asleep).splitlines() == [
        f"wait for a connection on {address}: it is sleeping" for address in (SOCKET, ADDRESS)
    ]
    assert at_once(tired, sleeping(tired)) == ""
    woken = sleeping(tired, armed=frozenset({SOCKET}), sleep_state=SleepState(gate_passed=V1.id, activated_at=NOW))
    assert "start" in planned(tired, woken)


def test_an_instance_at_a_port_that_another_app_serves_at_is_stopped() -> None:
    swapped = serving(APP, ceded=frozenset({ADDRESS}))
    assert "stop instance i1" in planned(MOVED, swapped)


def test_the_port_is_part_of_the_revision_and_what_is_stored_of_it_is_read_again() -> None:
    assert len({V1.id, AT_OTHER.id, replace(APP, beside=None).revision("c1").id}) == 3
    for revision in (V1, replace(V1, beside=None)):
        assert revision_from(asdict(revision)) == revision
    stored = {name: value for name, value in asdict(replace(V1, beside=None)).items() if name != "beside"}
    assert revision_from(stored) == replace(V1, beside=None)


def test_the_revision_that_was_good_comes_back_at_the_ports_of_today() -> None:
    v2 = MOVED.revision("c2")
    down = serving(
        APP, instances=(), source=a_look(MOVED, "c2"), failures=(a_trouble(v2, count=5),), unserved_since=NOW
    )
    down = replace(down, builds=(*down.builds, v2.build.id))
    (start,) = (action for action in plan(MOVED, down, NOW).actions if isinstance(action, Start))
    assert (start.revision.build.id, start.revision.addresses) == (V1.build.id, (SOCKET, OTHER))
