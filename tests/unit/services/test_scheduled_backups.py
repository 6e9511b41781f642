"""Backups by schedule: late and failed ones are told once and counted, and their end is told."""

import asyncio
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from reconciler.planning.reason import Reason
from reconciler.planning.services.service import BackupSchedule, Service
from reconciler.services.backup_files import backups_in, new_backup
from reconciler.services.provisioner import ServiceError, ServiceSpec
from reconciler.services.records import ServiceRecord, ServiceRecords
from reconciler.services.scheduled_backups import ScheduledBackups
from reconciler.services.types.sqlite.provisioner import Sqlite
from reconciler.settings.settings import Settings
from reconciler.state.database import Database
from reconciler.state.paths import StatePaths
from reconciler.state.records import Records
from reconciler.state.schema import open_database
from reconciler.vault.vault import Vault
from tests.support.eventually import soon

NEVER = 3600.0


@dataclass(kw_only=True)
class Host:
    """A host with one service of type sqlite; `failure` is why it cannot be backed up."""

    database: Database
    root: Path
    failure: str = ""
    events: list[tuple[str, str]] = field(default_factory=list)
    woken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.paths = StatePaths(state=self.root)
        self.records = ServiceRecords(self.database, Vault(self.database, self.root / "key"))
        registered = self.records.register(self.service(NEVER), None, None, 0.0)
        self.records.note(registered.id, made="first time")
        self.record = self.records.service(registered.id)
        asyncio.run(Sqlite().provision(self.spec(self.record)))

    def service(self, every_s: float) -> Service:
        return Service(name="db", manifest="db.yaml", type="sqlite", backup=BackupSchedule(every_s=every_s, keep=2))

    def spec(self, record: ServiceRecord) -> ServiceSpec:
        if self.failure:
            raise ServiceError(self.failure)
        return ServiceSpec(
            id=record.id, name="db", type="sqlite", plan="free", server=None, asked={}, directory=self.root / "db"
        )

    def backups(self, slots: int = 2) -> ScheduledBackups:
        def record(name: str, kind: str, text: str, cause: str = "", reason: str = "") -> None:
            self.events.append((kind, reason))

        settings = Settings(manifests=self.root, paths=self.paths, backup_slots=slots)
        return ScheduledBackups(
            settings,
            self.records,
            Records(self.database),
            spec_of=self.spec,
            record=record,
            wake=self.woken.append,
        )


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with closing(open_database(tmp_path / "reconciler.db")) as database:
        yield Host(database=database, root=tmp_path)


async def during(backups: ScheduledBackups, story: Any) -> None:
    running = asyncio.ensure_future(backups.run())
    try:
        await story
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def test_a_backup_that_is_late_is_told_once_and_so_is_its_end(host: Host) -> None:
    backups = host.backups(slots=0)  # none is ever begun

    async def story() -> None:
        backups.follow({"db": host.service(0.2)})
        await soon(lambda: backups.trouble("db"))
        trouble = backups.trouble("db")
        assert trouble is not None
        assert trouble.reason is Reason.BACKUP_LATE
        assert "it has had no backup" in trouble.text
        for _ in range(3):
            backups.look()
            await asyncio.sleep(0)
        file = new_backup(host.paths.backups, host.record, 1_700_000_000, "schedule")
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"")
        backups.follow({"db": host.service(1e9)})
        await soon(lambda: backups.trouble("db") is None)

    asyncio.run(during(backups, story()))
    assert host.events == [("backup", Reason.BACKUP_LATE), ("recovered", Reason.BACKUP_RECOVERED)]
    assert host.woken == ["db", "db"]
    assert backups.failures == {"db": 0}


def test_a_backup_that_fails_is_told_counted_and_tried_again(host: Host) -> None:
    backups = host.backups()
    host.failure = "cannot reach its server"

    async def story() -> None:
        backups.follow({"db": host.service(0.2)})
        await soon(lambda: backups.failures["db"] >= 2)
        await soon(lambda: "2 times in a row: cannot reach its server" in getattr(backups.trouble("db"), "text", ""))
        backups.follow({"db": host.service(NEVER)})
        host.failure = ""
        backups.follow({"db": host.service(0.2)})
        await soon(lambda: backups_in(host.paths.backups))
        backups.follow({"db": host.service(NEVER)})
        await soon(lambda: backups.trouble("db") is None)

    asyncio.run(during(backups, story()))
    told = [event for event in host.events if event[1] != Reason.BACKUP_LATE]
    number = backups.failures["db"]
    assert told[:number] == [("failed", Reason.BACKUP_FAILED)] * number
    assert {("backup", Reason.BACKUP_DUE), ("recovered", Reason.BACKUP_RECOVERED)} == set(told[number:])


def test_what_has_no_schedule_any_more_is_counted_no_longer(host: Host) -> None:
    backups = host.backups()
    backups.follow({"db": host.service(NEVER)})
    assert backups.failures == {"db": 0}
    backups.follow({})
    assert backups.failures == {}
