"""Events are folded under what they led to, and none is lost."""

from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.reason import Reason
from reconciler.planning.subject import Subject
from reconciler.state.journal import KINDS, Event
from reconciler.web.event_groups import EventGroup, grouped

_DEPLOY = ("source", "staging", "staged", "releasing", "released", "started", "ready")


def _events(*told: tuple[str, str], reason: str = "") -> list[Event]:
    return [
        Event(id=n, at=float(n), subject=Subject("app", name), kind=kind, text=kind, cause="", reason=reason)
        for n, (name, kind) in enumerate(told, 1)
    ]


def _shape(groups: list[EventGroup]) -> list[tuple[str, str, tuple[str, ...], int]]:
    return [
        (each.event.subject.name, each.event.kind, tuple(step.kind for step in each.steps), each.times)
        for each in groups
    ]


def test_the_steps_of_a_deploy_are_folded_under_it_also_when_those_of_another_app_come_between() -> None:
    told = [pair for kind in _DEPLOY for pair in (("blog", kind), ("shop", kind))]
    assert _shape(grouped(_events(*told))) == [("shop", "ready", _DEPLOY[:-1], 1), ("blog", "ready", _DEPLOY[:-1], 1)]


def test_the_end_of_the_instance_before_belongs_to_the_deploy_and_a_stop_by_an_operator_does_not() -> None:
    ready, stopped = _events(("blog", "ready"), ("blog", "stopped"), reason=Reason.HANDING_OVER)
    assert _shape(grouped([ready, stopped])) == [("blog", "ready", ("stopped",), 1)]
    ready, stopped = _events(("blog", "ready"), ("blog", "stopped"), reason=Reason.STOPPED_BY_OPERATOR)
    assert _shape(grouped([ready, stopped])) == [("blog", "stopped", (), 1), ("blog", "ready", (), 1)]


def test_a_failure_that_is_repeated_counts_until_something_else_happens() -> None:
    told = [("shop", "started"), ("shop", "failed")] * 3 + [("shop", "ready"), ("shop", "failed")]
    told.insert(3, ("shop", "holding"))
    found = grouped(_events(*told))
    assert [(each.event.kind, each.times, each.importance) for each in found] == [
        ("failed", 1, "problem"),
        ("ready", 1, "change"),
        ("failed", 3, "problem"),
    ]


def test_what_has_led_to_nothing_yet_is_shown_by_its_newest_step() -> None:
    (group,) = grouped(_events(("blog", "staging"), ("blog", "staged")))
    assert (group.event.kind, group.importance) == ("staged", "routine")
    assert [step.kind for step in group.steps] == ["staging"]


def test_a_503_that_is_meant_is_no_problem_and_no_step_of_one() -> None:
    (group,) = grouped(_events(("blog", "holding"), reason=Reason.NOT_SERVING))
    assert group.importance == "problem"
    (group,) = grouped(_events(("blog", "holding"), reason=Reason.MAINTENANCE))
    assert group.importance == "change"
    (failed,), (_, held) = (
        _events(("blog", "failed")),
        _events(("", ""), ("blog", "holding"), reason=Reason.MAINTENANCE),
    )
    assert _shape(grouped([failed, held])) == [("blog", "holding", (), 1), ("blog", "failed", (), 1)]


def test_a_refused_manifest_is_a_problem() -> None:
    (group,) = grouped(_events(("blog", "manifest"), reason=Reason.MANIFEST_REFUSED))
    assert group.importance == "problem"


@given(st.lists(st.tuples(st.sampled_from(("blog", "shop")), st.sampled_from(KINDS), st.sampled_from(Reason))))
def test_each_event_is_in_exactly_one_group_in_order_and_the_newest_group_comes_first(
    told: list[tuple[str, str, Reason]],
) -> None:
    events = [
        Event(id=n, at=float(n), subject=Subject("app", name), kind=kind, text="", cause="", reason=reason)
        for n, (name, kind, reason) in enumerate(told, 1)
    ]
    groups = grouped(events)
    assert sorted(each.id for group in groups for each in (*group.steps, group.event)) == [e.id for e in events]
    assert all([s.id for s in group.steps] == sorted(s.id for s in group.steps) for group in groups)
    assert [group.event.at for group in groups] == sorted((group.event.at for group in groups), reverse=True)
