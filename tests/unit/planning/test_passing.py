"""An app that gets a socket keeps serving at its leased port until its next deploy: nothing else moves it."""

from dataclasses import replace

from reconciler.planning.address import Address
from reconciler.planning.apps.observed import Observed, Override, SleepState
from reconciler.planning.apps.passing import where_it_listens
from reconciler.planning.apps.plan import plan
from reconciler.planning.reason import Reason
from tests.support.plans import planned
from tests.world import ADDRESS, NOW, a_look, an_app, an_instance, serving, sleeping

SOCKET = Address(host="/s/listeners/blog.sock")
AT_PORT = an_app()
APP = replace(AT_PORT, address=SOCKET, leased=ADDRESS)


def test_what_serves_at_the_port_is_left_alone_by_an_upgrade() -> None:
    before = serving(AT_PORT)
    assert (plan(APP, before, NOW).actions, plan(APP, before, NOW).state) == ((), "running")
    on_probation = serving(AT_PORT, known_good=())
    assert "start" not in planned(APP, on_probation)


def test_it_passes_to_the_socket_with_new_code_and_the_port_stays_until_the_new_instance_serves() -> None:
    new = serving(AT_PORT, source=a_look(AT_PORT, "c2"), builds=(AT_PORT.build("c1").id, AT_PORT.build("c2").id))
    assert where_it_listens(APP, new) == APP
    planned = [str(action) for action in plan(APP, new, NOW).actions]
    opened, stopped = planned.index(f"listen on {SOCKET}"), planned.index("close 127.0.0.1:8001")
    assert opened < stopped
    v2 = APP.revision("c2")
    both = replace(
        new,
        listeners=frozenset({ADDRESS, SOCKET}),
        instances=(*new.instances, an_instance(v2, "i2", started_at=NOW - 1, ready_at=NOW)),
    )
    assert [str(action) for action in plan(APP, both, NOW).actions] == ["stop instance i1", "close 127.0.0.1:8001"]
    still_dialled = replace(both, instances=both.instances[1:], dialled=frozenset({ADDRESS}))
    assert plan(APP, still_dialled, NOW).actions == ()


def test_one_that_crashed_or_sleeps_at_the_port_comes_back_there() -> None:
    crashed = serving(AT_PORT, instances=())
    assert where_it_listens(APP, crashed).address == ADDRESS
    tired = replace(AT_PORT, idle_after_s=60.0)
    asleep = sleeping(tired, known_good=())
    assert where_it_listens(replace(tired, address=SOCKET, leased=ADDRESS), asleep).address == ADDRESS


def test_what_an_operator_asked_for_holds_on() -> None:
    assert APP.fingerprint == AT_PORT.fingerprint
    stopped = serving(AT_PORT, instances=(), override=Override(kind="stopped", holds_for=AT_PORT.fingerprint))
    assert plan(APP, stopped, NOW).reason is Reason.STOPPED_BY_OPERATOR
    v1, v2 = AT_PORT.revision("c1"), AT_PORT.revision("c2")
    back = serving(
        AT_PORT,
        source=a_look(AT_PORT, "c2"),
        builds=(v1.build.id, v2.build.id),
        override=Override(kind="rolled back", holds_for=v2.id, revision=v1),
        sleep_state=SleepState(),
    )
    assert where_it_listens(APP, back).address == ADDRESS
    assert "start" not in planned(APP, back)


def test_code_that_is_put_back_after_the_passing_does_not_lead_back_to_the_port() -> None:
    v2 = APP.revision("c2")
    passed = serving(AT_PORT, instances=(an_instance(v2),), known_good=(v2, AT_PORT.revision("c1")))
    assert where_it_listens(APP, passed) == APP


def test_a_new_app_listens_at_its_socket_only() -> None:
    new = replace(APP, leased=None)
    assert f"listen on {SOCKET}" in planned(new, Observed(source=a_look(new), builds=(new.build("c1").id,)))


def test_an_app_that_goes_serves_until_the_proxy_has_withdrawn_it() -> None:
    for app in (None, an_app(state="stopped")):
        dialled = serving(AT_PORT, dialled=frozenset({ADDRESS}))
        waiting = plan(app, dialled, NOW)
        assert (waiting.actions, waiting.state, waiting.settled) == ((), "stopping", False)
        assert waiting.message.endswith("waiting until the proxy has withdrawn its domains")
        assert "stop instance i1" in map(str, plan(app, replace(dialled, dialled=frozenset()), NOW).actions)
        gone = replace(dialled, instances=())
        assert "close 127.0.0.1:8001" in map(str, plan(app, gone, NOW).actions)


BESIDE = replace(AT_PORT, address=SOCKET, leased=ADDRESS, beside=ADDRESS)


def test_what_serves_at_the_port_alone_gets_the_socket_beside_it_with_new_code() -> None:
    assert plan(BESIDE, serving(AT_PORT), NOW).actions == ()
    new = serving(AT_PORT, source=a_look(AT_PORT, "c2"), builds=(AT_PORT.build("c1").id, AT_PORT.build("c2").id))
    planned = [str(action) for action in plan(BESIDE, new, NOW).actions]
    assert f"listen on {SOCKET}" in planned
    assert "close 127.0.0.1:8001" not in planned
    assert plan(BESIDE, serving(BESIDE), NOW).actions == ()


def test_one_that_has_both_keeps_both_while_its_source_is_missing() -> None:
    awaited = replace(BESIDE, source=replace(BESIDE.source, pinned="awaited:the commit is not fetched yet"))
    for there in (serving(BESIDE), serving(BESIDE, instances=())):
        assert where_it_listens(awaited, there) == awaited
        assert "close" not in planned(awaited, there)
    at_port = serving(AT_PORT)
    assert where_it_listens(awaited, at_port).addresses == (ADDRESS,)
