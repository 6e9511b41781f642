"""The number of a process by what waits for it: up at once, down after a calm time, never beyond its bounds."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.command_line import command_of
from reconciler.planning.scaling.backlog import Backlog, ByBacklog, Number, number_of

ASKED = ByBacklog(command=command_of("python waiting.py"), per=100.0, least=1, most=8)
EVERY_S = ASKED.every_s


def numbers(printed: Iterable[float], has: int = 1, asked: ByBacklog = ASKED) -> list[Number]:
    """Return what is decided each time that the command prints a number."""
    backlog: Backlog | None = None
    decided = []
    for step, waiting in enumerate(printed):
        now = 1000.0 + step * asked.every_s
        backlog = Backlog.first(asked, waiting, now) if backlog is None else backlog.next(asked, waiting, now)
        number = number_of(asked, backlog, has, now)
        decided.append(number)
        has = number.count
    return decided


def test_one_runs_for_each_share_of_what_waits_and_more_come_at_once() -> None:
    assert [each.count for each in numbers([0, 1, 100, 101, 250, 10_000])] == [1, 1, 1, 2, 3, 8]
    assert numbers([250])[0].cause == "250 waiting, 100 for each"
    assert numbers([0.5, 2.5], asked=ByBacklog(command=ASKED.command, per=0.5, most=9))[-1].count == 5


def test_fewer_are_left_once_the_highest_need_of_the_calm_time_is_lower() -> None:
    calm = int(ASKED.calm_s / EVERY_S)
    decided = numbers([450, *[0] * (calm // 2), 250, *[0] * (2 * calm)])
    counts = [each.count for each in decided]
    assert counts[:calm] == [5] * calm
    assert 3 in counts
    assert counts[-1] == 1
    assert counts == sorted(counts, reverse=True)
    assert counts.count(3) == calm // 2 + 1
    falls = [each.cause for each in decided if each.cause][1:]
    assert falls == ["3 were enough for 5m (0 waiting)", "1 was enough for 5m (0 waiting)"]


def test_a_new_daemon_keeps_what_runs_for_the_calm_time() -> None:
    calm = int(ASKED.calm_s / EVERY_S)
    assert [each.count for each in numbers([0] * (calm + 1), has=6)] == [6] * calm + [1]


def test_none_runs_where_the_least_is_none_and_nothing_waits() -> None:
    asked = ByBacklog(command=ASKED.command, per=100.0, least=0, most=8, calm_s=60.0)
    decided = numbers([1, 0, 0, 0], has=0, asked=asked)
    assert [each.count for each in decided] == [1, 1, 0, 0]
    assert decided[2].cause == "none was needed for 1m (0 waiting)"


def test_more_than_the_most_are_told_to_finish_at_once() -> None:
    assert numbers([900], has=12) == [Number(count=8, cause="at most 8")]


@given(st.lists(st.floats(min_value=0, max_value=1e15), min_size=1, max_size=60), st.integers(0, 20))
def test_whatever_is_printed_the_number_stays_within_its_bounds_and_is_enough(printed: list[float], has: int) -> None:
    for waiting, number in zip(printed, numbers(printed, ASKED.within(has)), strict=True):
        assert ASKED.least <= number.count <= ASKED.most
        assert number.count * ASKED.per >= min(waiting, ASKED.most * ASKED.per)
