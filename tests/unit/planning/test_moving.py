"""What an app that moves to a cluster has on this host meanwhile: one that slept serves at the listener that it had."""

from dataclasses import replace
from typing import Any

from reconciler.planning.apps.observed import Observed, ProcessStandings
from tests.support.plans import APP, V1, at_once, planned
from tests.world import NOW, a_trouble, an_instance, sleeping

ASLEEP = replace(APP, lazy=True)
PLACED = replace(APP, place="prod", address=None)
UNDERWAY = ProcessStandings(underway="prod: its pods: 0 of 1 ready")
PLACED_REVISION = PLACED.revision("c1")
THERE = an_instance(PLACED_REVISION, pid=0, name="i2")
HERE = an_instance(V1)


def moving(**different: Any) -> Observed:
    """It slept, and its manifest says another place."""
    return replace(sleeping(ASLEEP, known_good=(V1,), processes=UNDERWAY, instances=(THERE,)), **different)


def first(observed: Observed) -> str:
    return planned(PLACED, observed).splitlines()[0]


def test_an_app_that_slept_serves_where_it_listens_until_it_is_in_the_cluster() -> None:
    assert first(moving()) == "start revision v1: it serves here until it does in prod"
    assert first(moving(instances=())) == "start revision v1: it serves here until it does in prod"
    assert "start revision v1" not in planned(PLACED, moving(instances=(HERE, THERE)))
    # One that is about to go to sleep serves no client that comes now.
    assert first(moving(instances=(replace(HERE, stopping_since=NOW), THERE))).startswith("start revision v1")


def test_its_listener_stays_open_until_then() -> None:
    closes = f"close {APP.address}: it has no listener now"
    for instances in ((), (THERE,), (HERE, THERE)):
        assert closes not in planned(PLACED, moving(instances=instances))
    there = moving(processes=ProcessStandings())
    assert closes in planned(PLACED, there)
    assert "start revision v1" not in planned(PLACED, there)
    assert at_once(PLACED, there) == ""


def test_what_cannot_serve_here_any_more_is_not_tried_again() -> None:
    assert "start revision v1" not in planned(PLACED, moving(failures=(a_trouble(V1),)))
    assert "start revision v1" not in planned(PLACED, moving(known_good=()))
    assert "start revision v1" not in planned(PLACED, moving(listeners=frozenset()))
    assert "start revision v1" not in planned(PLACED, moving(builds=()))
