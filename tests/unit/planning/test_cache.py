"""A plan is made anew when anything it is made from has changed, and only then."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from reconciler.planning.cache import Planner


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    number: int
    recheck_at: float | None = None


def counting(recheck_at: float | None = None) -> Callable[[object, object, float], Made]:
    made: list[None] = []

    def make(_asked: object, _seen: object, _now: float) -> Made:
        made.append(None)
        return Made(number=len(made), recheck_at=recheck_at)

    return make


ASKED = ["an app"]  # only the very same is known to be the same
FIRST = ("blog", ASKED, ("what is seen",), 10.0)


def test_while_nothing_has_changed_the_plan_is_the_very_same() -> None:
    planner = Planner(counting())
    planned = planner.plan(*FIRST)
    name, asked, _, now = FIRST
    assert planner.plan(name, asked, ("what is seen",), now + 1e9) is planned


@pytest.mark.parametrize(
    "changed",
    [
        ("shop", ASKED, ("what is seen",), 10.0),
        ("blog", ["an app"], ("what is seen",), 10.0),
        ("blog", None, ("what is seen",), 10.0),
        ("blog", ASKED, ("something else",), 10.0),
    ],
    ids=["another name", "what is asked", "nothing is asked any more", "what is seen"],
)
def test_any_change_has_it_made_anew(changed: tuple[str, object, object, float]) -> None:
    planner = Planner(counting())
    planner.plan(*FIRST)
    assert planner.plan(*changed).number == 2


@pytest.mark.parametrize(("now", "number"), [(59.9, 1), (60.0, 2), (61.0, 2)])
def test_when_time_may_have_changed_it_it_is_made_anew(now: float, number: int) -> None:
    planner = Planner(counting(recheck_at=60.0))
    planner.plan(*FIRST)
    assert planner.plan(*FIRST[:3], now).number == number


def test_of_what_nobody_asks_for_nothing_is_remembered() -> None:
    planner = Planner(counting())
    gone = planner.plan("blog", None, ("what is seen",), 10.0)
    assert planner.plan("blog", None, ("what is seen",), 10.0) == replace(gone, number=2)
