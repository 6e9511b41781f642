"""A program without an address is planned like any other, with no listener: started, replaced, fallen back, stopped."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.apps.actions import ArmActivation, Listen, ServeHoldingPage, Sleep
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Observed
from reconciler.planning.apps.plan import plan
from tests.support.plans import APP, BOTH, lines, planned
from tests.support.stories import story_of
from tests.world import CONTENTS, NOW, a_look, a_trouble, an_instance, anything_observed, apps, serving

WORKER = replace(APP, address=None)
W1, W2 = WORKER.revision("c1"), WORKER.revision("c2")


def test_it_is_staged_and_started_without_a_listener() -> None:
    assert planned(WORKER, Observed(source=a_look(WORKER))).splitlines() == [
        "stage build b1: first build of the app",
        "start revision v2: the app was not running",
    ]


def test_it_is_as_desired_with_one_instance_and_no_listener() -> None:
    decided = plan(WORKER, serving(WORKER), NOW)
    assert (decided.actions, decided.immediate, decided.state, decided.settled) == ((), (), "running", True)


def test_it_is_replaced_by_a_successor() -> None:
    changed = serving(WORKER, source=a_look(WORKER, "c2"), builds=BOTH)
    assert [str(a) for a in plan(WORKER, changed, NOW).actions] == [f"start revision {W2.id}", "stop instance i1"]


def test_it_falls_back_to_what_was_good() -> None:
    bad = serving(WORKER, "c2", builds=BOTH, instances=(), known_good=(W1,), failures=(a_trouble(W2),))
    assert [str(a) for a in plan(WORKER, bad, NOW).actions] == [f"start revision {W1.id}"]


def test_a_listener_it_had_is_closed_once_its_instance_is_gone() -> None:
    assert planned(WORKER, serving(APP)) == lines("""
        start revision v2: its configuration changed
        stop instance i1: replaced by a new instance
        close 127.0.0.1:8001: it has no listener now
    """)


def test_it_is_stopped_and_maintained_without_a_holding_page() -> None:
    for state in ("stopped", "maintenance"):
        decided = plan(replace(WORKER, state=state), serving(WORKER), NOW)
        assert [str(a) for a in decided.actions] == ["stop instance i1"]
        assert decided.immediate == ()
        done = plan(replace(WORKER, state=state), serving(WORKER, instances=()), NOW)
        assert (done.actions, done.state, done.settled) == ((), state, True)


def test_it_never_sleeps_as_no_connection_could_wake_it() -> None:
    lazy = replace(WORKER, lazy=True, idle_after_s=60.0)
    assert not lazy.may_sleep
    started = serving(lazy, instances=(an_instance(lazy.revision("c1")),))
    assert plan(lazy, started, NOW).actions == ()
    assert planned(lazy, Observed(source=a_look(lazy), builds=BOTH)) == "start revision v2: the app was not running"


@st.composite
def _without_address(draw: st.DrawFn) -> tuple[App, Observed]:
    app = replace(draw(apps), address=None)
    return app, draw(anything_observed(app))


@given(_without_address(), st.sampled_from(CONTENTS))
def test_no_story_opens_or_holds_a_listener_for_it(situation: tuple[App, Observed], content: str) -> None:
    app, observed = situation
    for decided, _, _ in story_of(app, observed, content):
        opening = Listen | ServeHoldingPage | ArmActivation | Sleep
        assert not any(isinstance(a, opening) for a in (*decided.actions, *decided.immediate))
