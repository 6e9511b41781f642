"""Decide when a service is backed up, which of its backups are surplus, and whether they are in trouble.

`plan_backups` is a function, and its times are seconds of the monotonic clock: when a backup was made is read from its
file each time, so that a change of the wall clock moves all of them alike. Its laws: however late a service is, one
backup is due, not several; two begin no sooner than half an interval after one another; the newest good backup is never
surplus, and neither is one that no schedule made.
"""

from collections.abc import Iterable

from reconciler.linux.dataclass import dataclass
from reconciler.planning.reason import Cause, Reason
from reconciler.planning.services.service import BackupSchedule
from reconciler.planning.wording import span

# The first backups of many services, as after a night without the daemon, are spread over a part of the interval.
_SPREAD_PART = 0.1
_LONGEST_SPREAD_S = 300.0
_LATE_AFTER = 0.5  # of an interval
_CATCH_UP_S = 3600.0
_FIRST_RETRY_S = 60.0
_LONGEST_RETRY_S = 3600.0
_DOUBLINGS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledBackup:
    """A complete backup that the schedule made; `bad` says that a restore of it has failed."""

    file: str
    at: float
    bad: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedBackups:
    """The backups of one service by its schedule, and what this daemon has tried.

    `since` is when the daemon saw the schedule first, `begun_at` when it last began a backup. `failures` counts those
    that failed in a row, the last of them at `failed_at` and because of `failure`. `place`, between 0 and 1, tells
    services apart that are due together.
    """

    made: tuple[ScheduledBackup, ...]
    since: float
    place: float
    begun_at: float | None = None
    failures: int = 0
    failed_at: float = 0.0
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupPlan:
    """When the next backup is due, when it would be late, the trouble now if there is any, and the surplus files."""

    due_at: float
    late_at: float
    trouble: Cause | None
    surplus: tuple[str, ...]


def plan_backups(schedule: BackupSchedule, observed: ObservedBackups, now: float) -> BackupPlan:
    """Plan the backups of one service; `now` is monotonic seconds."""
    every_s = schedule.every_s
    last = _last_good_at(observed.made, schedule, now)
    spread_s = min(_SPREAD_PART * every_s, _LONGEST_SPREAD_S)
    due_at = observed.since + observed.place * spread_s
    if last is not None:
        due_at = max(due_at, last + every_s)
    if observed.failures:
        due_at = max(due_at, observed.failed_at + _retry_s(observed, every_s))
    elif observed.begun_at is not None:
        # Also where backups are moved elsewhere as soon as they are made, or the clock is set again and again.
        due_at = max(due_at, observed.begun_at + every_s / 2)
    limit_s = every_s * (1 + _LATE_AFTER)
    if last is None:
        late_at = observed.since + limit_s
    else:
        # A daemon that has just started gets the time to make it.
        late_at = max(last + limit_s, observed.since + min(every_s * _LATE_AFTER, _CATCH_UP_S))
    return BackupPlan(
        due_at=due_at,
        late_at=late_at,
        trouble=_trouble(observed, every_s, late=late_at <= now, ever=last is not None),
        surplus=_surplus(observed.made, schedule, now),
    )


def _trouble(observed: ObservedBackups, every_s: float, *, late: bool, ever: bool) -> Cause | None:
    if observed.failures:
        times = "" if observed.failures == 1 else f" {observed.failures} times in a row"
        wait = span(_retry_s(observed, every_s))
        return Cause(
            Reason.BACKUP_FAILED, f"its backup failed{times}: {observed.failure}; the next try is {wait} after the last"
        )
    if late:
        limit = span(every_s * (1 + _LATE_AFTER))
        what = f"its last good backup is more than {limit} old" if ever else f"it has had no backup for {limit}"
        return Cause(Reason.BACKUP_LATE, f"{what}; its manifest asks for one every {span(every_s)}")
    return None


def _retry_s(observed: ObservedBackups, every_s: float) -> float:
    delay_s = _FIRST_RETRY_S * 2.0 ** min(observed.failures - 1, _DOUBLINGS)
    return min(delay_s, _LONGEST_RETRY_S, every_s) * (0.75 + 0.5 * observed.place)


def _last_good_at(made: Iterable[ScheduledBackup], schedule: BackupSchedule, now: float) -> float | None:
    """Return when the newest good backup was made; one that claims to be of the future is not believed."""
    return max((one.at for one in made if not one.bad and _is_believed(one, schedule, now)), default=None)


def _is_believed(backup: ScheduledBackup, schedule: BackupSchedule, now: float) -> bool:
    return backup.at <= now + schedule.every_s


def _surplus(made: Iterable[ScheduledBackup], schedule: BackupSchedule, now: float) -> tuple[str, ...]:
    """Return what is over `keep`, counted apart for good and bad backups; those of the future are the oldest."""
    newest_first = sorted(made, key=lambda one: (_is_believed(one, schedule, now), one.at, one.file), reverse=True)
    good = [one.file for one in newest_first if not one.bad]
    bad = [one.file for one in newest_first if one.bad]
    return (*good[schedule.keep :], *bad[schedule.keep :])
