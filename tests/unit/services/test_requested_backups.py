"""Backups that an operator requests: one of a service at a time, each told when it is made or cannot be."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from reconciler.planning.services.service import Service
from reconciler.services.backup_files import backups_in
from reconciler.services.provisioner import ServiceError, ServiceSpec
from reconciler.services.records import ServiceRecord, ServiceRecords
from reconciler.services.registry import WITHOUT_BACKUP
from reconciler.services.requested_backups import RequestedBackups
from reconciler.services.types.sqlite.provisioner import Sqlite
from reconciler.settings.settings import Settings
from reconciler.state.database import Database
from reconciler.state.journal import EventKind
from reconciler.state.paths import StatePaths
from reconciler.state.schema import open_database
from reconciler.vault.vault import Vault
from tests.support.site import REPOSITORY


class Host:
    """The services of a host, and what was told of them."""

    def __init__(self, directory: Path, database: Database) -> None:
        self.directory = directory
        self.records = ServiceRecords(database, Vault(database, directory / "key"))
        self.told: asyncio.Queue[str] = asyncio.Queue()
        settings = Settings(manifests=directory, paths=StatePaths(state=directory))
        self.backups = RequestedBackups(
            settings, self.records, now=lambda: 1_700_000_000.0, spec_of=self.spec_of, record=self.record
        )

    def spec_of(self, record: ServiceRecord) -> ServiceSpec:
        return ServiceSpec(
            id=record.id, name=record.name, type=record.type, plan=record.plan, server=None, asked={},
            directory=self.directory / record.id,
        )  # fmt: skip

    def record(self, name: str, kind: EventKind, text: str, cause: str = "", reason: str = "") -> None:
        self.told.put_nowait(f"{name}: {kind}: {text} ({cause}) {reason}".strip())

    async def provisioned(self, name: str, of_type: str = "sqlite") -> ServiceRecord:
        record = self.records.register(Service(name=name, manifest="", type=of_type), None, None, 0.0)
        if of_type == "sqlite":
            await Sqlite().provision(self.spec_of(record))
        self.records.note(record.id, made="made")
        return record


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with contextlib.closing(open_database(tmp_path / "db")) as database:
        yield Host(tmp_path, database)


@contextlib.asynccontextmanager
async def _running(host: Host) -> AsyncIterator[None]:
    task = asyncio.create_task(host.backups.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_a_backup_is_made_and_told_and_only_then_can_another_be_requested(host: Host) -> None:
    async def story() -> None:
        record = await host.provisioned("db")
        host.backups.request("db", "root")
        with pytest.raises(ServiceError, match="a backup of db is being made already"):
            host.backups.request("db", "root")
        async with _running(host):
            told = await host.told.get()
            (file,) = backups_in(host.directory / "backups", record.id)
            assert (told, file.made_by) == (f"db: backup: backed up to {file.path} (requested by root)", "operator")
            host.backups.request("db", "root")
            await host.told.get()
        assert len(backups_in(host.directory / "backups", record.id)) == 2

    asyncio.run(story())


def test_one_that_fails_is_told_and_ends_no_other(host: Host) -> None:
    async def story() -> None:
        broken = await host.provisioned("broken")
        await host.provisioned("db")
        (host.spec_of(broken).directory / "broken.sqlite3").write_text("no database" * 100)
        async with _running(host):
            host.backups.request("broken", "root")
            host.backups.request("db", "root")
            told = sorted([await host.told.get(), await host.told.get()])
        assert told[0].startswith("broken: failed: cannot back it up: ")
        assert told[0].endswith("(requested by root) backup-failed")
        assert told[1].startswith("db: backup: ")

    asyncio.run(story())


def test_what_cannot_be_backed_up_is_refused_with_the_reason(host: Host) -> None:
    with pytest.raises(ServiceError, match="no service named 'db' is provisioned here"):
        host.backups.request("db", "root")
    asyncio.run(host.provisioned("mq", "rabbitmq"))
    with pytest.raises(ServiceError, match="type rabbitmq cannot be backed up: RabbitMQ does not export messages"):
        host.backups.request("mq", "root")


def test_the_types_that_cannot_be_backed_up_are_those_whose_manifest_may_not_ask_for_it() -> None:
    schema = json.loads((REPOSITORY / "schemas" / "service.schema.json").read_text())
    rules = [rule["then"].get("properties", {}).get("backup", {}) for rule in schema["allOf"] if "then" in rule]
    assert {rule["errorMessage"] for rule in rules if "errorMessage" in rule} == {
        f"type {name} cannot be backed up: {why}" for name, why in WITHOUT_BACKUP.items()
    }
