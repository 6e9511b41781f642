"""When a service is backed up, what is surplus and what is told: tables, and properties over any clock."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.reason import Reason
from reconciler.planning.services.backups import ObservedBackups, ScheduledBackup, plan_backups
from reconciler.planning.services.service import BackupSchedule

DAY = 86400.0
NOW = 100 * DAY
DAILY = BackupSchedule(every_s=DAY, keep=2)
LONG_AGO = ObservedBackups(made=(), since=NOW - DAY, place=0.0)

times = st.floats(min_value=-200 * DAY, max_value=200 * DAY)
backups = st.lists(st.builds(ScheduledBackup, file=st.uuids().map(str), at=times, bad=st.booleans()), max_size=8)
schedules = st.builds(BackupSchedule, every_s=st.floats(min_value=60, max_value=30 * DAY), keep=st.integers(1, 4))


def made(*ages: float, bad: bool = False) -> tuple[ScheduledBackup, ...]:
    return tuple(ScheduledBackup(file=f"{age:g}", at=NOW - age, bad=bad) for age in ages)


@pytest.mark.parametrize(
    ("observed", "due_in"),
    [
        (LONG_AGO, -DAY),
        (replace(LONG_AGO, made=made(DAY / 4)), 0.75 * DAY),
        (replace(LONG_AGO, made=made(3 * DAY), since=NOW, place=0.5), 150.0),  # three missed: one, in its place
        (replace(LONG_AGO, made=made(DAY / 4, bad=True)), -DAY),
        (replace(LONG_AGO, made=made(-30 * DAY)), -DAY),  # of the future: not believed
        (replace(LONG_AGO, begun_at=NOW), DAY / 2),  # made, and moved away at once
        (replace(LONG_AGO, begun_at=NOW, failures=1, failed_at=NOW), 45.0),
        (replace(LONG_AGO, begun_at=NOW, failures=40, failed_at=NOW, place=1.0), 4500.0),
    ],
)
def test_a_backup_is_due_an_interval_after_the_newest_good_one(observed: ObservedBackups, due_in: float) -> None:
    assert plan_backups(DAILY, observed, NOW).due_at - NOW == pytest.approx(due_in)


def test_retention_keeps_the_newest_and_never_counts_bad_ones_for_good() -> None:
    observed = replace(LONG_AGO, made=(*made(3, 1, 2, 4), *made(0.1, 0.2, 0.3, bad=True)))
    assert plan_backups(DAILY, observed, NOW).surplus == ("3", "4", "0.3")


def test_trouble_is_a_failure_or_an_old_backup_and_ends_with_a_good_one() -> None:
    failed = plan_backups(DAILY, replace(LONG_AGO, failures=2, failed_at=NOW, failure="no room"), NOW).trouble
    assert failed is not None
    assert failed.reason is Reason.BACKUP_FAILED
    assert "2 times in a row: no room" in failed.text
    late = plan_backups(DAILY, replace(LONG_AGO, made=made(1.5 * DAY)), NOW).trouble
    assert late is not None
    assert (late.reason, late.text) == (
        Reason.BACKUP_LATE, "its last good backup is more than 1d12h old; its manifest asks for one every 1d",
    )  # fmt: skip
    assert plan_backups(DAILY, replace(LONG_AGO, made=made(1.4 * DAY)), NOW).trouble is None
    never = replace(LONG_AGO, since=NOW - 1.5 * DAY)
    assert getattr(plan_backups(DAILY, never, NOW).trouble, "reason", None) is Reason.BACKUP_LATE


def test_a_daemon_that_has_just_started_is_given_time_to_make_up_for_it() -> None:
    observed = replace(LONG_AGO, made=made(9 * DAY), since=NOW)
    decided = plan_backups(DAILY, observed, NOW)
    assert decided.trouble is None
    assert decided.late_at == NOW + 3600


@given(schedules, backups, st.floats(min_value=0, max_value=1))
def test_the_newest_good_backup_is_never_surplus(
    schedule: BackupSchedule, found: list[ScheduledBackup], place: float
) -> None:
    observed = ObservedBackups(made=tuple(found), since=0.0, place=place)
    surplus = plan_backups(schedule, observed, 0.0).surplus
    believed = [one for one in found if not one.bad and one.at <= schedule.every_s]
    if believed:
        assert max(believed, key=lambda one: (one.at, one.file)).file not in surplus
    good = [one for one in found if not one.bad]
    assert len([one for one in good if one.file not in surplus]) == min(schedule.keep, len(good))


@given(schedules, st.lists(times, min_size=1, max_size=30), st.floats(min_value=0, max_value=1))
def test_whatever_the_clock_does_two_backups_are_half_an_interval_apart(
    schedule: BackupSchedule, steps: list[float], place: float
) -> None:
    """The wall clock is set before each look; the daemon looks ten times an interval."""
    clock_ahead, stamps, begun = 0.0, list[float](), list[float]()
    for number, step in enumerate(steps * 3):
        now, clock_ahead = number * schedule.every_s / 10, clock_ahead + step
        observed = ObservedBackups(
            made=tuple(ScheduledBackup(file=f"{at}", at=at - clock_ahead) for at in stamps),
            since=0.0, place=place, begun_at=begun[-1] if begun else None,
        )  # fmt: skip
        if plan_backups(schedule, observed, now).due_at <= now:
            begun.append(now)
            stamps.append(now + clock_ahead)
    assert all(later - earlier >= schedule.every_s / 2 * 0.999 for earlier, later in pairwise(begun))


def test_fifty_services_that_are_overdue_are_spread() -> None:
    due = {plan_backups(DAILY, replace(LONG_AGO, since=NOW, place=n / 50), NOW).due_at for n in range(50)}
    assert len(due) == 50
    assert max(due) - min(due) > 200
