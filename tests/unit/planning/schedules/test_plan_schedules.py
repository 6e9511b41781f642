"""What becomes of the occurrences of schedules: tables, and a host whose clock is set at random."""

import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.planning.schedules.actions import Late, TooLong
from reconciler.planning.schedules.schedule import Missed, Overlap, Retries, Schedule
from tests.support.schedules import Host

MINUTE, HOUR, DAY, MONTH = 60.0, 3600.0, 86400.0, 30 * 86400.0
NOON = datetime(2026, 11, 27, 12, 0, 30, tzinfo=UTC).timestamp()


def schedule(at: str | None = "* * * * *", **fields: Any) -> Schedule:
    return Schedule(app="shop", name="cleanup", command=("clean",), at=at, **fields)


def begun(asked: Schedule, **fields: Any) -> Host:
    host = Host(asked=[asked], wall=NOON, **fields)
    host.settle()
    return host


def test_each_occurrence_runs_at_its_time_and_once() -> None:
    host = begun(schedule())
    host.pass_time(10 * MINUTE)
    assert [each.planned_at - NOON for each, _ in host.started] == [30.0 + 60 * each for each in range(10)]
    assert (host.missed, host.skipped) == ([], [])
    assert host.plans <= 60  # it looks when something is due, and never in between


def test_a_new_schedule_has_missed_nothing_and_neither_has_one_with_other_times() -> None:
    host = begun(schedule("0 3 * * *"))
    host.pass_time(2 * DAY)
    assert len(host.started) == 2
    host.asked = [schedule("0 4 * * *")]
    host.off(HOUR)
    host.settle()
    host.asked = [schedule("0 5 * * *")]
    host.off(30 * DAY)
    host.settle()
    assert (len(host.started), host.missed) == (2, [])


@pytest.mark.parametrize(("missed", "runs"), [("once", 1), ("skip", 0), ("all", 10)])
def test_a_host_that_was_off_for_three_days_makes_up_for_as_much_as_is_asked(missed: Missed, runs: int) -> None:
    host = begun(schedule(missed=missed, keep=5))
    host.pass_time(HOUR)
    before = len(host.started)
    host.off(3 * DAY)
    host.pass_time(20.0)
    made_up = [each.planned_at for each, _ in host.started[before:]]
    assert len(made_up) == runs
    assert made_up == sorted(made_up)
    assert host.most_at_once == 1
    (miss,) = host.missed
    assert (miss.count, miss.made_up) == (3 * 1440, runs)
    assert miss.last <= host.wall < miss.last + 60
    host.pass_time(10 * MINUTE)
    assert len(host.started) == before + runs + 10
    assert max(host.runs().values()) == 1


def test_what_was_missed_for_longer_than_within_is_not_made_up_for() -> None:
    host = begun(schedule("0 3 * * *", missed="all", within_s=2 * DAY))
    host.off(9 * DAY)
    host.pass_time(MINUTE)
    assert (len(host.started), host.missed[0].count) == (2, 9)
    assert host.most_at_once == 1


@pytest.mark.parametrize("missed", ["once", "skip", "all"])
def test_a_short_pause_of_the_daemon_misses_nothing(missed: Missed) -> None:
    host = begun(schedule("0 * * * *", missed=missed))
    host.wall += 59.5 * MINUTE + 40 - 30  # 12:00:30 to 13:00:10
    host.restart(lost=True)
    host.settle()
    assert (len(host.started), host.missed) == (1, [])


@pytest.mark.parametrize(
    ("overlap", "at_once", "runs", "skips"),
    [("skip", 1, 4, 6), ("queue", 1, 4, 0), ("replace", 1, 10, 0), ("allow", 3, 10, 0)],
)
def test_tasks_that_outlast_their_period_overlap_as_is_asked(
    overlap: Overlap, at_once: int, runs: int, skips: int
) -> None:
    host = begun(schedule(overlap=overlap), took_s=2.5 * MINUTE)
    host.pass_time(10 * MINUTE)
    assert host.most_at_once == at_once
    assert len(host.started) == runs
    assert len(host.skipped) == skips
    assert max(host.runs().values()) == 1


def test_no_more_than_ten_wait_in_a_queue() -> None:
    host = begun(schedule(overlap="queue"), took_s=HOUR)
    host.pass_time(30 * MINUTE)
    assert sum(record.state == "owed" for record in host.records.values()) == 10
    assert len(host.skipped) == 30 - 11


def test_a_failed_occurrence_is_tried_again_with_growing_delays() -> None:
    host = begun(schedule("0 13 * * *", retries=Retries(count=3, first_s=60, cap_s=100)), fails=9)
    at: list[int] = []
    host.pass_time(59 * MINUTE)
    for _ in range(400):
        host.pass_time(1.0)
        if len(host.started) > len(at):
            at.append(round(host.wall - NOON - 3570))
    assert [number for _, number in host.started] == [1, 2, 3, 4]
    assert at == pytest.approx([0, 61, 162, 263], abs=3)


def test_a_newer_occurrence_ends_the_retries_of_an_older_one() -> None:
    host = begun(schedule(retries=Retries(count=5, first_s=90)), fails=9)
    host.pass_time(3 * MINUTE)
    assert [number for _, number in host.started] == [1, 1, 1]


@pytest.mark.parametrize(("count", "attempts"), [(0, [1]), (1, [1, 2])])
def test_what_lost_its_process_has_failed_and_is_tried_again_only_if_that_is_asked(
    count: int, attempts: list[int]
) -> None:
    host = begun(schedule("0 13 * * *", retries=Retries(count=count)), took_s=HOUR)
    host.pass_time(HOUR)
    host.off(5.0)
    host.pass_time(2 * MINUTE)
    assert [number for _, number in host.started] == attempts
    assert host.missed == []


def test_a_task_that_outlives_its_daemon_is_not_started_twice() -> None:
    host = begun(schedule("0 13 * * *"), took_s=HOUR)
    host.pass_time(HOUR)
    host.restart(lost=False)
    host.pass_time(2 * HOUR)
    assert [record.state for record in host.records.values()] == ["succeeded"]
    assert len(host.started) == 1


def test_times_do_not_count_while_the_app_is_stopped_or_the_schedule_is_paused() -> None:
    host = begun(schedule())
    host.pass_time(3 * MINUTE)
    host.state = "stopped"
    assert host.settle().suspended == {"cleanup": "shop is stopped"}
    host.pass_time(DAY)
    host.state = "maintenance"
    host.pass_time(2 * MINUTE)
    assert (len(host.started), host.missed) == (5, [])
    host.asked = [schedule(paused=True)]
    host.off(DAY)
    host.settle()
    host.asked = [schedule()]
    host.off(DAY)
    host.pass_time(2 * MINUTE)
    assert (len(host.started), host.missed) == (7, [])


def test_times_count_from_the_first_deploy_and_on_when_a_daemon_does_not_know_of_it_yet() -> None:
    host = Host(asked=[schedule()], wall=NOON, deployed=False)
    host.pass_time(DAY)
    host.deployed = True
    host.pass_time(2 * MINUTE)
    host.deployed = False
    host.off(DAY)
    host.settle()
    assert (len(host.started), [miss.made_up for miss in host.missed]) == (3, [1])


def test_a_schedule_that_is_removed_leaves_nothing() -> None:
    host = begun(schedule(overlap="queue"), took_s=HOUR)
    host.pass_time(3 * MINUTE)
    host.asked = []
    host.settle()
    assert {record.state for record in host.records.values()} == {"failed", "skipped"}
    assert (host.running, host.histories) == ({}, {})


def test_an_interval_counts_from_the_last_start_whatever_the_clock_does() -> None:
    host = begun(schedule(None, every_s=600.0), took_s=30.0)
    host.pass_time(HOUR)
    assert len(host.started) == 6
    host.wall += MONTH
    host.pass_time(HOUR)
    host.wall -= 2 * MONTH
    host.pass_time(HOUR)
    assert (len(host.started), host.missed) == (18, [])
    host.off(-MONTH)
    host.pass_time(HOUR + 1)
    assert len(host.started) == 24


@pytest.mark.parametrize(("missed", "runs"), [("once", 1), ("skip", 0), ("all", 10)])
def test_an_interval_that_passed_while_the_host_was_off_is_missed(missed: Missed, runs: int) -> None:
    host = begun(schedule(None, every_s=600.0, missed=missed))
    host.pass_time(HOUR)
    host.off(3 * DAY)
    host.pass_time(MINUTE)
    assert len(host.started) == 6 + runs
    assert (host.missed[0].count, host.missed[0].made_up) == (432, runs)
    host.pass_time(HOUR)
    assert 5 <= len(host.started) - 6 - runs <= 6


def test_what_starts_late_and_what_takes_too_long_is_told_once() -> None:
    host = begun(schedule("0 * * * *", overlap="queue"), took_s=10.0)
    host.pass_time(5 * HOUR)
    assert host.told == {}
    host.took_s = 90 * MINUTE
    host.pass_time(2.2 * HOUR)
    (too_long, since), (late, late_since) = host.told.items()
    assert isinstance(too_long, TooLong)
    assert since - too_long.occurrence.planned_at == pytest.approx(70.0, abs=1)
    assert isinstance(late, Late)
    assert late_since - late.occurrence.planned_at == pytest.approx(300.0, abs=1)


def test_a_spread_is_the_same_each_time_and_other_for_other_schedules() -> None:
    spread = schedule("0 3 * * *", spread_s=600.0)
    others = {replace(spread, name=f"n{each}").offset_s for each in range(40)}
    assert len(others) > 30
    assert all(0 <= each < 600 for each in others)
    host = begun(spread)
    host.pass_time(2 * DAY)
    started = [record.started_at for record in host.records.values()]
    assert [at and at % DAY - 3 * HOUR for at in started] == [spread.offset_s] * 2
    assert [each.planned_at % DAY for each, _ in host.started] == [3 * HOUR] * 2


steps = st.one_of(
    st.sampled_from([-1.0, 1.0, -HOUR, HOUR, -DAY, DAY, -MONTH, MONTH]), st.floats(-MONTH, MONTH), st.floats(-90, 90)
)
stories = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.floats(0.0, 400.0)),
        st.tuples(st.just("set"), steps),
        st.tuples(st.just("off"), st.floats(0.0, 4 * DAY)),
        st.tuples(st.just("off"), steps),
        st.tuples(st.just("stop"), st.floats(0.0, 4 * HOUR)),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=20)
@given(
    stories, st.sampled_from(["once", "skip", "all"]), st.sampled_from(["skip", "queue", "replace", "allow"]),
    st.sampled_from(["* * * * *", "*/5 * * * *", "7 * * * *", None]), st.sampled_from([0.5, 20.0, 100.0]),
)  # fmt: skip
def test_whatever_the_clock_does_no_occurrence_begins_twice(
    story: list[tuple[str, float]], missed: Missed, overlap: Overlap, at: str | None, took_s: float
) -> None:
    host = begun(schedule(at, every_s=None if at else 120.0, missed=missed, overlap=overlap), took_s=took_s)
    for what, seconds in story:
        match what:
            case "pass":
                host.pass_time(seconds)
            case "set":
                host.wall += seconds
                host.settle()
            case "off":
                host.off(seconds)
            case "stop":
                host.state = "stopped"
                host.pass_time(seconds)
                host.state = "running"
        host.trim(5)
        host.settle()
    if at is not None:
        assert max(host.runs().values(), default=0) <= 1
    assert overlap == "allow" or host.most_at_once <= 1
    assert all(miss.made_up <= {"skip": 0, "once": 1, "all": 10}[missed] for miss in host.missed)
    # Wherever the clock is now, the schedule goes on: within the time for which it may have been there before.
    begun_before = len(host.started)
    host.wall += 3 * MONTH
    host.pass_time(2 * HOUR)
    assert len(host.started) > begun_before


@pytest.mark.nightly
def test_a_thousand_occurrences_on_a_clock_that_is_set_at_random() -> None:
    begun_at_all = 0
    for seed in range(12):
        chance = random.Random(seed)
        host = begun(schedule(missed=chance.choice(["once", "skip", "all"])))
        for _ in range(1500):
            host.pass_time(chance.uniform(0, 300))
            if chance.random() < 0.5:
                size = 10 ** chance.uniform(0, 6.41)  # a second to a month
                host.wall += size if chance.random() < 0.5 else -size
            host.trim(20)
        assert max(host.runs().values()) == 1
        begun_at_all += len(host.started)
    assert begun_at_all > 5000
