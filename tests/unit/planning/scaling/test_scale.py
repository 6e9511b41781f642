"""How many workers a load gets: more at once, fewer slowly, never outside of the range, and with the cause in words."""

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.scaling.brakes import HostRoom, Share, held_back, limit_of, shared
from reconciler.planning.scaling.load import Load, Look
from reconciler.planning.scaling.scale import Decision, scale
from reconciler.planning.scaling.worker_range import WorkerRange
from tests.unit.planning.scaling.a_queue import START_S, best, story

ASKED = WorkerRange(least=1, most=8)


def looks(*those: Look, asked: WorkerRange = ASKED) -> Load:
    load = Load.first(asked, those[0])
    for each in those[1:]:
        load = load.next(asked, each)
    return load


def a_look(at: float, **different: object) -> Look:
    return Look(**{"at": at, "instance": "i", "workers": 1, **different})  # type: ignore[arg-type]


def test_what_waits_behind_one_long_request_gets_a_worker_at_the_second_look() -> None:
    waiting = [a_look(at, in_flight=1, queue=1) for at in (10.0, 10.25)]
    assert scale(ASKED, looks(a_look(9.0), *waiting), 10.25).workers == 1
    decided = scale(ASKED, looks(a_look(9.0), *waiting, a_look(10.5, in_flight=1, queue=1)), 10.5)
    assert (decided.workers, decided.cause) == (2, "requests wait 500 ms (queue 1), 0.3 of 1 busy")


def test_a_queue_that_is_answered_in_time_is_no_reason_for_more() -> None:
    steady = [a_look(at / 4, in_flight=1, queue=2, answered=at * 25, seconds=at * 0.1) for at in range(8)]
    assert looks(*steady).wait_s == pytest.approx(0.02)
    assert scale(ASKED, looks(*steady), 2.0).workers == 1


def test_more_come_at_most_twice_as_many_in_the_time_that_a_worker_takes_to_start() -> None:
    crowd = [a_look(at, in_flight=1, queue=40, start_s=5.0) for at in (0.0, 0.25, 0.5)]
    assert scale(ASKED, looks(*crowd), 0.5).workers == 2
    two = [a_look(at, workers=2, in_flight=2, queue=40, start_s=5.0) for at in (0.75, 1.0)]
    assert scale(ASKED, looks(*crowd, *two), 1.0).workers == 2, "the second one is on its way"
    there = [a_look(at, workers=2, in_flight=2, queue=40, start_s=5.0, ready=2) for at in (1.25, 1.5)]
    assert scale(ASKED, looks(*crowd, *two, *there), 1.5).workers == 4, "it is there sooner than usual"
    later = [a_look(at, workers=2, in_flight=2, queue=40, start_s=5.0) for at in (5.75, 6.0)]
    assert scale(ASKED, looks(*crowd, *two, *later), 6.0).workers == 4


def a_step(phase: float = 0.0) -> list[tuple[float, float]]:
    """Four requests of 200 ms a second, after 15 s thirty: what `python -m benchmarks scaling` tries on a real app."""
    return [*((n / 4, 0.2) for n in range(60)), *((15 + phase + n / 30, 0.2) for n in range(1350))]


def test_a_step_of_load_is_met_within_the_time_that_workers_take_and_two_seconds() -> None:
    rate, takes = 30.0, 0.2  # six workers' work
    requests = [(60 + n / rate, takes) for n in range(int(rate * 120))]
    told = story(ASKED, requests, 180.0)
    met = next(at for at, workers in told.workers if workers >= 7)
    assert met - 60 <= START_S + 2
    assert told.waited(70, 180) <= 0.25
    assert max(workers for _, workers in told.workers) <= 8


@pytest.mark.parametrize("start_s", [0.25, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("phase", [0.0, 0.1, 0.2])
def test_after_a_step_waits_end_at_most_three_seconds_after_they_could_whenever_it_is_seen(
    start_s: float, phase: float
) -> None:
    could = best(8, a_step(phase), 15, start_s).met_s(15 + phase)
    told = story(ASKED, a_step(phase), 60.0, start_s)
    assert told.met_s(15 + phase) <= could + 3
    assert told.changes <= 3
    needed = len(a_step()) * 0.2 / 0.7
    assert told.worker_seconds <= needed


@pytest.mark.parametrize("start_s", [0.5, 2.0, 5.0])
def test_where_many_more_are_allowed_no_more_come_than_keep_up_and_work_off_what_waits(start_s: float) -> None:
    told = story(WorkerRange(least=1, most=40), a_step(), 60.0, start_s)
    assert 9 <= max(workers for _, workers in told.workers) <= 12, "six work on what comes"
    assert told.met_s(15) <= 3 * start_s + 1


def test_one_that_waits_behind_a_long_request_gets_a_worker_where_those_before_were_quick() -> None:
    quick = [a_look(n / 4, answered=5 * n, seconds=0.05 * n) for n in range(8)]
    stuck = [a_look(2 + n / 4, answered=35, seconds=0.35, in_flight=1, queue=1) for n in range(3)]
    load = looks(*quick, *stuck)
    assert (load.keeps_up(), scale(ASKED, load, 2.5).workers) == (0, 2)


def test_a_queue_of_quick_requests_asks_for_as_many_as_keep_up_not_for_one_each() -> None:
    """A hundred come each second of 20 ms each, two workers' work, and 60 wait: another one works those off."""
    seen = [
        a_look(n / 4, workers=2, in_flight=2, queue=60, answered=25 * n, seconds=0.5 * n, ready=2) for n in range(5)
    ]
    assert scale(ASKED, looks(*seen), 1.0).workers == 3


def test_when_the_load_falls_away_one_goes_at_a_time_until_there_are_as_many_as_at_first() -> None:
    requests = [(n / 30, 0.2) for n in range(30 * 120)]
    told = story(ASKED, requests, 120 + 300 + 8 * 15 + 60)
    peak = told.at(119)
    assert told.at(119 + 280) == peak, "not before fewer were enough for five minutes"
    assert told.at(told.workers[-1][0]) == 1
    assert told.changes <= 2 * 8


def test_a_load_that_comes_and_goes_in_ten_minutes_is_followed_without_oscillation() -> None:
    def rate(at: float) -> float:
        return 15 + 12 * math.sin(2 * math.pi * at / 600)

    chance = random.Random(7)
    requests, at = [], 0.0
    while at < 7200:
        at += chance.expovariate(rate(at))
        requests.append((at, chance.expovariate(1 / 0.1)))
    told = story(WorkerRange(least=1, most=8, calm_s=300), requests, 7200.0)
    last_hour = [(at, workers) for at, workers in told.workers if at >= 3600]
    changes = sum(a != b for (_, a), (_, b) in itertools.pairwise(last_hour))
    assert changes <= 8
    assert all(1 <= workers <= 8 for _, workers in told.workers)


def test_a_wave_is_not_tried_with_fewer_workers_every_hour_and_when_it_ends_the_least_are_left() -> None:
    ends, until, at, requests = 3 * 3600, 3 * 3600 + 1500, 0.0, []
    while at < until:
        at += 1 / (10 + 9 * math.sin(2 * math.pi * at / 600)) if at < ends else 5.0
        requests.append((at, 0.2))
    told = story(ASKED, requests, float(until))
    steady = [workers for at, workers in told.workers if 3600 <= at < ends]
    assert set(steady) == {6}, "no change in two hours, where to follow each of twelve waves would take a hundred"
    assert told.at(told.workers[-1][0]) == 1


@given(
    asked=st.builds(WorkerRange, least=st.integers(1, 3), most=st.integers(3, 9), spare=st.integers(0, 2)),
    seen=st.lists(
        st.tuples(
            st.floats(0.1, 70), st.integers(1, 12), st.integers(0, 12), st.integers(0, 50), st.integers(0, 99),
            st.booleans(),
        ),
        min_size=1, max_size=20,
    ),
)  # fmt: skip
def test_whatever_is_seen_the_number_is_in_the_range_and_no_change_is_larger_than_it_may_be(
    asked: WorkerRange, seen: list[tuple[float, int, int, int, int, bool]]
) -> None:
    at, answered, instance, load = 0.0, 0, 0, None
    for seconds, workers, in_flight, queue, more, anew in seen:
        at, instance = at + seconds, instance + anew
        answered = more if anew else answered + more
        look = a_look(
            at, instance=str(instance), workers=workers, in_flight=in_flight, queue=queue, answered=answered,
            seconds=answered * 0.1,
        )  # fmt: skip
        load = Load.first(asked, look) if load is None else load.next(asked, look)
        decided = scale(asked, load, at)
        assert asked.least <= decided.workers <= asked.most
        if asked.least <= workers <= asked.most:
            assert workers - 1 <= decided.workers <= max(2 * max(workers, load.base), load.keeps_up())
            assert bool(decided.cause) == (decided.workers != workers)
        assert 0 <= load.busy <= 1
    assert load is not None


def test_event_loops_count_by_their_processor_time_and_idle_websockets_do_not() -> None:
    idle = [a_look(float(at), in_flight=100, cpu_s=0.001 * at) for at in range(60)]
    assert scale(ASKED, looks(*idle), 60.0).workers == 1
    hard = [a_look(float(at), in_flight=100, cpu_s=0.95 * at) for at in range(60)]
    decided = scale(ASKED, looks(*hard), 60.0)
    assert (decided.workers, decided.cause) == (2, "0.9 cores used by 1")


def test_threads_whose_worker_accepts_more_than_they_can_do_are_late_by_what_requests_tell() -> None:
    told = [
        a_look(at / 4, threads=4, in_flight=4, answered=5 * at, seconds=at, waits=5 * at, waited_s=2.0 * at)
        for at in range(4)
    ]
    assert looks(*told).wait_s == pytest.approx(0.4)
    assert scale(ASKED, looks(*told), 0.75).workers == 2


def test_one_that_was_needed_again_too_soon_makes_the_calm_twice_as_long_for_an_hour() -> None:
    two = [a_look(0.0, workers=2), a_look(10.0, workers=1), a_look(20.0, workers=2)]
    assert looks(*two).calm_s == 600.0
    assert looks(*two, a_look(20.0 + 3601, workers=2)).calm_s == 300.0


def test_a_calm_that_grew_by_flapping_again_and_again_shrinks_by_half_each_hour_without_any() -> None:
    twice = [a_look(0.0, workers=2), *(a_look(10.0 * n, workers=1 + (n + 1) % 2) for n in range(1, 5))]
    assert looks(*twice).calm_s == 1200.0
    calms = [
        looks(*twice, *(a_look(40.0 + 3601 * h, workers=2) for h in range(1, hours + 1))).calm_s for hours in (1, 2, 3)
    ]
    assert calms == [600.0, 300.0, 300.0]


def test_memory_and_processors_hold_back_what_they_do_not_suffice_for() -> None:
    more = Decision(workers=6, cause="busy", asked=6)
    room = HostRoom(room=1, worker_bytes=85 << 20)
    assert held_back(more, 4, room) == (Decision(workers=5, cause="busy", asked=6), "memory: each worker takes 85 MB")
    pressed = HostRoom(pressure=0.62, most_pressure=0.4)
    assert held_back(more, 4, pressed) == (Decision(workers=4, cause="busy", asked=6), "the processor: 62% pressure")
    assert held_back(more, 4, HostRoom()) == (more, "")
    assert held_back(more, 7, pressed) == (more, ""), "fewer are always possible"


@pytest.mark.parametrize(
    ("cpu", "pressed", "held", "words"),
    [
        (5.0, True, "", "the processor"),
        (0.1, False, "", "waiting, not computing (database?)"),
        (7.0, False, "", "8 workers: more would help"),
        (0.1, False, "memory: each worker takes 85 MB", "memory: each worker takes 85 MB"),
    ],
)
def test_what_the_limit_is_is_said_in_words(cpu: float, pressed: bool, held: str, words: str) -> None:
    load = looks(a_look(0.0, workers=8, in_flight=8))
    shown = limit_of(ASKED, load, cpu=cpu, pressed=pressed, held=held)
    assert shown == words


SHARES = st.dictionaries(
    st.sampled_from("abcdef"),
    st.builds(Share, least=st.integers(1, 3), has=st.integers(0, 9), wanted=st.integers(1, 12), need=st.integers(0, 9)),
    min_size=1,
)


@given(budget=st.integers(1, 30), shares=SHARES)
def test_the_budget_is_held_and_no_app_gets_less_than_its_least_nor_more_than_it_wants(
    budget: int, shares: dict[str, Share]
) -> None:
    given_ = shared(budget, shares)
    assert given_.keys() == shares.keys()
    for name, share in shares.items():
        assert share.least <= given_[name] <= max(share.least, share.wanted)
    has = {name: max(share.has, share.least) for name, share in shares.items()}
    added = sum(max(0, given_[name] - has[name]) for name in shares)
    assert not added or sum(has.values()) + added <= budget


def test_an_idle_app_gives_to_one_that_needs_more_and_what_it_has_yet_to_give_is_not_given_twice() -> None:
    idle, hungry = Share(least=1, has=6, wanted=6, need=1), Share(least=1, has=2, wanted=6, need=6)
    first = shared(8, {"idle": idle, "hungry": hungry})
    assert first == {"idle": 2, "hungry": 2}
    gone = Share(least=1, has=2, wanted=2, need=1)
    assert shared(8, {"idle": gone, "hungry": hungry}) == {"idle": 2, "hungry": 6}
