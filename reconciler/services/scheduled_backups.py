"""Back up services by the schedules of their manifests, beside everything else that is done about them.

A backup is no step of a service's convergence: it may take hours, and a rotation or a binding does not wait for it.
When it is due is decided from the files that exist. Only failures are remembered, so that the daemon after this one
knows of them.
"""

import asyncio
import contextlib
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import in_words
from reconciler.planning.reason import Cause, Reason
from reconciler.planning.services.service import BackupSchedule, Service
from reconciler.services.backup import BACKUP_TIMEOUT_S, back_up
from reconciler.services.backup_files import BackupFile, backups_in, new_backup, remove_backup
from reconciler.services.backup_verification import remove_abandoned
from reconciler.services.provisioner import ServiceSpec
from reconciler.services.records import ServiceRecord, ServiceRecords
from reconciler.settings.settings import Settings
from reconciler.state.journal import EventKind
from reconciler.vault.vault import VaultLocked

if TYPE_CHECKING:  # most hosts have no schedule of backups
    from reconciler.planning.services.backups import BackupPlan

# Files may come and go, and the clock may be set, without a notice.
_LOOK_EVERY_S = 300.0
_UNREADABLE_S = 30.0
_IDS = 16**12


class Facts(Protocol):
    """Values that outlive the daemon, by name."""

    def fact(self, name: str) -> str | None: ...
    def set_fact(self, name: str, value: str) -> None: ...


class RecordEvent(Protocol):
    """Write an event of a service."""

    def __call__(self, name: str, kind: EventKind, text: str, cause: str = "", reason: str = "") -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempts:
    """What this daemon knows of the backups of one service, in monotonic seconds."""

    since: float
    begun_at: float | None = None
    failures: int = 0
    failed_at: float = 0.0
    failure: str = ""


class ScheduledBackups:
    """Makes the backups that are due, a few at a time, removes surplus ones, and says what is in trouble.

    `spec_of` returns what a provisioner needs of a service on record, `record` writes an event, and `wake` has a
    service planned and reported again. `failures` counts those of each service with a schedule since the daemon began.
    """

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        settings: Settings,
        service_records: ServiceRecords,
        facts: Facts,
        *,
        spec_of: Callable[[ServiceRecord], ServiceSpec],
        record: RecordEvent,
        wake: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._service_records = service_records
        self._facts = facts
        self._spec_of = spec_of
        self._record = record
        self._wake = wake
        self.failures: Counter[str] = Counter()
        self._scheduled: dict[str, Service] = {}
        self._attempts: dict[str, _Attempts] = {}
        self._running: set[str] = set()
        self._troubles: dict[str, Cause] = {}
        self._changed = asyncio.Event()

    def follow(self, services: Mapping[str, Service]) -> None:
        """Take over the schedules of the manifests in force."""
        scheduled = {name: service for name, service in services.items() if service.backup is not None}
        if scheduled == self._scheduled:
            return
        for name in self._scheduled.keys() - scheduled.keys():
            self.forget(name)
        self._scheduled = scheduled
        now = time.monotonic()
        for name, service in scheduled.items():
            self.failures[name] += 0
            record = self._record_of(name)
            if record is not None and record.id not in self._attempts and service.backup is not None:
                # Before the first report: what an earlier daemon told of is not over because this one has started.
                trouble = self._plan(record, service.backup, (), now, 0.0).trouble
                self._troubles.update({name: trouble} if trouble else {})
        self.look()

    def look(self) -> None:
        """Find out now what is due."""
        self._changed.set()

    def trouble(self, name: str) -> Cause | None:
        """Return why the scheduled backups of a service fail or are late, None if they do not."""
        return self._troubles.get(name)

    def forget(self, name: str) -> None:
        """Drop what is known of a service that has no schedule any more, or is gone."""
        self.failures.pop(name, None)
        for record in self._service_records.of(name):
            if self._attempts.pop(record.id, None) is not None:
                self._remember(record.id, None)
        if self._troubles.pop(name, None) is not None:
            self._wake(name)

    async def remove_abandoned(self) -> None:
        """Remove what killed backups and verifications have left, on this host and on servers."""
        directory = self._settings.paths.backups
        if directory.is_dir():
            with contextlib.suppress(OSError, sqlite3.Error, VaultLocked):
                await remove_abandoned(directory, self._spec_by_id)

    async def run(self) -> None:
        """Make what is due, for as long as the daemon runs."""
        await self.remove_abandoned()
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._changed.clear()
                try:
                    wait_s = await self._look(tasks)
                except OSError as error:
                    self._tell_unreadable(error)
                    wait_s = _UNREADABLE_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._changed.wait()

    async def _look(self, tasks: asyncio.TaskGroup) -> float | None:
        """Begin what is due; return the seconds after which to look again, None without any schedule."""
        records = {name: record for name in self._scheduled if (record := self._record_of(name)) is not None}
        if not records:
            return None
        files = await asyncio.to_thread(backups_in, self._settings.paths.backups)
        now, wall = time.monotonic(), time.time()  # noqa: TID251  to read the times that files have
        due: list[tuple[float, str]] = []
        later: list[float] = [now + _LOOK_EVERY_S]
        for name, record in records.items():
            schedule = self._scheduled[name].backup if name in self._scheduled else None
            if schedule is None:
                continue
            planned = self._plan(record, schedule, files, now, wall)
            self._tell(name, planned.trouble)
            for file in planned.surplus:
                await asyncio.to_thread(remove_backup, self._settings.paths.backups / file)
            if record.id not in self._running and planned.due_at <= now:
                due.append((planned.due_at, name))
            later += [at for at in (planned.due_at, planned.late_at) if at > now]
        for _, name in sorted(due)[: max(0, self._settings.backup_slots - len(self._running))]:
            self._running.add(records[name].id)
            tasks.create_task(self._back_up(name, records[name]), name=f"back up {name}")
        return min(later) - now

    def _plan(
        self, record: ServiceRecord, schedule: BackupSchedule, files: tuple[BackupFile, ...], now: float, wall: float
    ) -> "BackupPlan":
        from reconciler.planning.services.backups import ObservedBackups, ScheduledBackup, plan_backups

        if (tried := self._attempts.get(record.id)) is None:
            tried = self._attempts[record.id] = self._recalled(record.id, now)
        made = tuple(
            ScheduledBackup(
                file=file.path.name,
                at=now - (wall - file.at),
                bad=file.verification is not None and bool(file.verification.failure),
            )
            for file in files
            if file.id == record.id and file.made_by == "schedule"
        )
        observed = ObservedBackups(
            made=made,
            since=tried.since,
            place=int(record.id, 16) / _IDS,
            begun_at=tried.begun_at,
            failures=tried.failures,
            failed_at=tried.failed_at,
            failure=tried.failure,
        )
        return plan_backups(schedule, observed, now)

    async def _back_up(self, name: str, record: ServiceRecord) -> None:
        self._attempts[record.id] = replace(self._attempts[record.id], begun_at=time.monotonic())
        now = time.time()  # noqa: TID251  it is in the name of the file
        file = new_backup(self._settings.paths.backups, record, now, "schedule")
        try:
            async with asyncio.timeout(BACKUP_TIMEOUT_S):
                await back_up(record.type, self._spec_of(record), file)
        except TimeoutError:
            self._failed(name, record.id, f"it was not complete within {BACKUP_TIMEOUT_S / 3600:g} h")
        except Exception as error:  # noqa: BLE001  whatever it is, it is told and tried again, and ends no other backup
            self._failed(name, record.id, str(error) or type(error).__name__)
        else:
            self._succeeded(name, record.id, file)
        finally:
            self._running.discard(record.id)
            self.look()

    def _failed(self, name: str, record: str, why: str) -> None:
        tried = self._attempts.get(record)
        if tried is None:  # its schedule was removed meanwhile
            return
        tried = replace(tried, failures=tried.failures + 1, failed_at=time.monotonic(), failure=why)
        self._attempts[record] = tried
        self.failures[name] += 1
        self._remember(record, tried)
        self._record(name, "failed", f"cannot back it up: {why}", f"try {tried.failures}", Reason.BACKUP_FAILED)

    def _succeeded(self, name: str, record: str, file: Path) -> None:
        tried = self._attempts.get(record)
        if tried is not None and tried.failures:
            self._attempts[record] = replace(tried, failures=0, failure="")
            self._remember(record, None)
        self._record(name, "backup", f"backed up to {file}", "its manifest asks for it now", Reason.BACKUP_DUE)

    def _tell(self, name: str, trouble: Cause | None) -> None:
        """Have a service reported again where its trouble is another one, or has ended."""
        before = self._troubles.get(name)
        if before == trouble:
            return
        if trouble is None:
            del self._troubles[name]
            self._record(name, "recovered", "its backups are on time again", reason=Reason.BACKUP_RECOVERED)
        else:
            self._troubles[name] = trouble
            if trouble.reason is Reason.BACKUP_LATE:
                self._record(name, "backup", trouble.text, reason=trouble.reason)
        self._wake(name)

    def _tell_unreadable(self, error: OSError) -> None:
        trouble = Cause(Reason.BACKUP_FAILED, f"cannot read {self._settings.paths.backups}: {in_words(error)}")
        for name in self._scheduled:
            if self._troubles.get(name) != trouble:
                self._troubles[name] = trouble
                self._record(name, "failed", trouble.text, reason=trouble.reason)
                self._wake(name)

    def _record_of(self, name: str) -> ServiceRecord | None:
        """Return the record of a service that has been provisioned as its manifest says it is."""
        of_type = self._scheduled[name].type
        fitting = [r for r in self._service_records.of(name) if r.type == of_type and r.made and r.left_at is None]
        return fitting[-1] if fitting else None

    def _spec_by_id(self, record: str) -> ServiceSpec | None:
        try:
            return self._spec_of(self._service_records.service(record))
        except KeyError:
            return None

    def _recalled(self, record: str, now: float) -> _Attempts:
        """Return what an earlier daemon knew: how often the backup failed, and why."""
        with contextlib.suppress(ValueError, KeyError, TypeError, sqlite3.Error):
            known = json.loads(self._facts.fact(_fact(record)) or "{}")
            # A start of the daemon is a reason to try again: what was in the way may be gone.
            never = float("-inf")
            return _Attempts(since=now, failures=int(known["failures"]), failed_at=never, failure=str(known["failure"]))
        return _Attempts(since=now)

    def _remember(self, record: str, tried: _Attempts | None) -> None:
        known = {} if tried is None else {"failures": tried.failures, "failure": tried.failure}
        with contextlib.suppress(sqlite3.Error):
            self._facts.set_fact(_fact(record), json.dumps(known))


def _fact(record: str) -> str:
    return f"backup {record}"
