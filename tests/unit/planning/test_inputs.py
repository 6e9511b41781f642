"""Plans of apps with credentials of services and secrets."""

from dataclasses import replace
from typing import Any

import pytest

from reconciler.planning.apps.actions import (
    Action,
    Listen,
    Release,
    Stage,
    Start,
    Stop,
)
from reconciler.planning.apps.app import Binding
from reconciler.planning.apps.observed import ExternalInputs, Observed, Override
from reconciler.planning.apps.plan import plan
from reconciler.planning.apps.revision import Bound
from reconciler.planning.plan import Plan
from reconciler.planning.reason import Reason
from tests.world import (
    NOW,
    a_look,
    a_trouble,
    an_app,
    an_instance,
    serving,
)

BOUND = Bound(service="db", type="sqlite", label="sqlite", plan="free", instance="i1", grant="g1", credentials="c1")


NEWER = replace(BOUND, grant="g2", credentials="c2")


BINDING = an_app(bindings=(Binding(service="db"),))


WITH = ExternalInputs(bound=(BOUND,), held={"db": BOUND})


WITHOUT = ExternalInputs(missing=("service db: it is being made",))


RAN = BINDING.revision("c1", (BOUND,))


def ran(inputs: ExternalInputs, **different: Any) -> Observed:
    """An app that ran with its service."""
    observed = replace(serving(BINDING), instances=(an_instance(RAN, "i1"),), known_good=(RAN,), inputs=inputs)
    return replace(observed, **different)


def test_an_app_waits_for_its_service_with_everything_else_made_ready() -> None:
    known = Observed(source=a_look(BINDING), inputs=WITHOUT)
    decided = plan(BINDING, known, NOW)
    assert [type(action) for action in decided.actions] == [Listen, Stage]
    assert (decided.state, decided.message) == ("pending", "waiting: service db: it is being made")
    assert not decided.settled


def test_what_runs_goes_on_while_a_service_is_missing() -> None:
    decided = plan(BINDING, ran(WITHOUT), NOW)
    assert (decided.actions, decided.state) == ((), "degraded")
    assert decided.message == f"waiting: service db: it is being made; revision {RAN.id} serves"


def test_what_ran_last_comes_back_while_another_service_is_missing() -> None:
    known = ran(replace(WITH, missing=("service other: it is down",)), instances=())
    (start,) = plan(BINDING, known, NOW).actions
    assert isinstance(start, Start)
    assert start.revision == RAN


def test_without_any_credentials_what_ran_last_cannot_come_back() -> None:
    assert plan(BINDING, ran(WITHOUT, instances=()), NOW).actions == ()


def test_new_credentials_are_handed_over() -> None:
    start, stop = plan(BINDING, ran(ExternalInputs(bound=(NEWER,), held={"db": NEWER})), NOW).actions
    assert isinstance(start, Start)
    assert start.revision == BINDING.revision("c1", (NEWER,))
    assert isinstance(stop, Stop)


def test_a_fallback_gets_the_credentials_of_today() -> None:
    other = replace(BINDING, env={"A": "B"})
    target = other.revision("c1", (NEWER,))
    known = ran(
        ExternalInputs(bound=(NEWER,), held={"db": NEWER}), instances=(), failures=(a_trouble(target, kind="rejected"),)
    )
    start = plan(other, replace(known, source=a_look(other)), NOW).first
    assert isinstance(start, Start)
    assert start.revision == BINDING.revision("c1", (NEWER,))


def test_a_revision_of_a_service_that_was_made_anew_is_none_to_fall_back_to() -> None:
    anew = replace(NEWER, instance="i2")
    other = replace(BINDING, env={"A": "B"})
    target = other.revision("c1", (anew,))
    known = ran(
        ExternalInputs(bound=(anew,), held={"db": anew}), instances=(), failures=(a_trouble(target, kind="rejected"),)
    )
    first = plan(other, replace(known, source=a_look(other)), NOW).first
    assert not isinstance(first, Start) or first.revision == target


def test_a_rollback_by_hand_outlives_a_rotation() -> None:
    back = replace(BINDING, env={"OLD": "1"}).revision("c1", (BOUND,))
    override = Override(kind="rolled back", holds_for=BINDING.revision("c1").id, revision=back)
    for bound in (BOUND, NEWER):
        decided = plan(BINDING, ran(ExternalInputs(bound=(bound,), held={"db": bound}), override=override), NOW)
        assert decided.wanted == replace(back, bindings=(bound,)).id


def test_a_value_that_is_no_longer_the_newest_is_told() -> None:
    decided = plan(BINDING, ran(replace(WITH, stale=("cannot read /x",))), NOW)
    assert (decided.actions, decided.state) == ((), "degraded")
    assert "cannot read /x" in decided.message


def test_an_app_whose_service_is_down_says_so_and_goes_on() -> None:
    down = replace(WITH, down=("service db is down: it refused the connection",))
    decided = plan(BINDING, ran(down), NOW)
    assert (decided.actions, decided.state, decided.reason) == ((), "degraded", Reason.SERVICE_DOWN)
    assert decided.message == "service db is down: it refused the connection"


def released_in_vain(inputs: ExternalInputs) -> Plan[Action]:
    app = replace(BINDING, release="migrate")
    failure = a_trouble(app.revision("c1", (BOUND,)), phase="releasing", count=1, last_at=NOW - 100)
    staged = (app.revision("c1", (BOUND,)).build.id,)
    return plan(app, Observed(source=a_look(app), builds=staged, failures=(failure,), inputs=inputs), NOW)


def test_a_release_that_failed_while_a_service_was_down_waits_for_it_and_is_tried_once_more() -> None:
    down = released_in_vain(replace(WITH, down=("service db is down: it refused the connection",)))
    assert Release not in map(type, down.actions)
    assert down.message.endswith(
        "service db is down: it refused the connection;"
        " tried again once the service has recovered, after an edit or 'reconciler restart blog'"
    )
    decided = released_in_vain(replace(WITH, outages=((NOW - 120, NOW - 10),)))
    (release,) = [action for action in decided.actions if isinstance(action, Release)]
    assert release.reason == Reason.SERVICE_RECOVERED


@pytest.mark.parametrize("outage", [(NOW - 90, NOW - 10), (NOW - 300, NOW - 200)], ids=["later", "earlier"])
def test_a_release_that_failed_while_its_services_worked_waits_for_an_edit(outage: tuple[float, float]) -> None:
    decided = released_in_vain(replace(WITH, outages=(outage,)))
    assert Release not in map(type, decided.actions)
    assert decided.message.endswith("tried again after an edit or 'reconciler restart blog'")
