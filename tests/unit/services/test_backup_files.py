"""Backups on disk: what their names tell, what was verified, room for them, and what killed ones leave."""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.inspection.backups import last_good
from reconciler.inspection.snapshot import HostSnapshot
from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.parse_file import parse
from reconciler.planning.services.service import BackupSchedule, Service
from reconciler.services import backup as module
from reconciler.services.backup import back_up
from reconciler.services.backup_files import (
    MadeBy,
    Verification,
    backups_in,
    new_backup,
    record_verification,
    remove_backup,
)
from reconciler.services.backup_verification import remove_abandoned, verify_backup
from reconciler.services.provisioner import ServiceError, ServiceSpec
from reconciler.services.records import ServiceRecord, ServiceRecords
from reconciler.services.scratch import abandoned, scratch
from reconciler.services.types.sqlite.provisioner import Sqlite
from reconciler.state.paths import StatePaths
from reconciler.state.schema import open_database
from reconciler.vault.vault import Vault
from tests.support.site import REPOSITORY

RECORD = ServiceRecord(
    id="0123456789ab", name="blog-db", type="sqlite", server=None, plan="free", retain=True, grace_s=0.0
)


@pytest.fixture
def service(tmp_path: Path) -> ServiceSpec:
    """A database with two rows, in the format in which an app writes it."""
    spec = ServiceSpec(
        id=RECORD.id, name="blog-db", type="sqlite", plan="free", server=None, asked={}, directory=tmp_path / "db"
    )
    asyncio.run(Sqlite().provision(spec))
    with contextlib.closing(sqlite3.connect(spec.directory / "blog-db.sqlite3")) as database:
        database.execute('CREATE TABLE "odd ""name" AS SELECT 1 UNION SELECT 2')
        database.commit()
    return spec


@pytest.mark.parametrize("made_by", ["operator", "schedule", "restore", "removal"])
def test_a_backup_is_found_by_its_name(tmp_path: Path, made_by: MadeBy) -> None:
    path = new_backup(tmp_path, RECORD, 1_700_000_000.9, made_by)
    path.write_bytes(b"12345")
    assert new_backup(tmp_path, RECORD, 1_700_000_000, made_by) != path
    for other in (f"{path.name}-wal", f".{path.name}.draft", "notes.txt", "x-0123456789ab-20261301T000000Z.sqlite"):
        (tmp_path / other).touch()
    (tmp_path / path.name.replace("2023", "2024")).symlink_to(path)
    (found,) = backups_in(tmp_path)
    assert (found.path, found.service, found.id, found.type) == (path, "blog-db", RECORD.id, "sqlite")
    assert (found.at, found.made_by, found.size) == (1_700_000_000, made_by, 5)
    assert backups_in(tmp_path, "f" * 12) == backups_in(tmp_path / "missing") == ()


def test_a_verification_counts_for_as_long_as_the_backup_is_the_same(tmp_path: Path) -> None:
    path = new_backup(tmp_path, RECORD, 1_700_000_000, "schedule")
    path.write_bytes(b"12345")
    outcome = Verification(at=5.0, counted={"tables": 1, "rows": 2})
    record_verification(path, outcome)
    assert backups_in(tmp_path)[0].verification == outcome
    path.write_bytes(b"other")
    os.utime(path, (1, 1))
    assert backups_in(tmp_path)[0].verification is None
    remove_backup(path)
    assert list(tmp_path.iterdir()) == []


def test_a_backup_is_verified_without_a_trace_beside_it(service: ServiceSpec, tmp_path: Path) -> None:
    directory = tmp_path / "backups"
    path = new_backup(directory, RECORD, 1_700_000_000, "schedule")
    asyncio.run(back_up("sqlite", service, path))
    outcome = asyncio.run(verify_backup(service, path, directory))
    assert (outcome.counted, outcome.failure) == ({"tables": 1, "rows": 2}, "")
    assert [each.name for each in directory.iterdir() if not each.name.endswith(".verified")] == [path.name]
    path.write_bytes(path.read_bytes()[:5000])
    assert "damaged" in asyncio.run(verify_backup(service, path, directory)).failure
    assert backups_in(directory)[0].verification is not None


def test_a_backup_that_would_fill_the_disk_is_not_begun(
    service: ServiceSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT_FREE_BYTES", 2**60)
    with pytest.raises(ServiceError, match=r"free, and this needs 1\.074e\+09 GiB"):
        asyncio.run(back_up("sqlite", service, tmp_path / "backups" / "b"))
    assert list((tmp_path / "backups").iterdir()) == []


def test_a_cancelled_backup_leaves_nothing(service: ServiceSpec, tmp_path: Path) -> None:
    async def story() -> None:
        task = asyncio.create_task(back_up("sqlite", service, tmp_path / "backups" / "b"))
        while not (tmp_path / "backups").is_dir():
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(story())
    assert [each.name for each in (tmp_path / "backups").iterdir() if each.name != "b"] == []


def test_a_scratch_directory_is_abandoned_once_its_process_is_killed(service: ServiceSpec, tmp_path: Path) -> None:
    async def held_for_a_while() -> None:
        async with scratch(tmp_path, f"verify-{RECORD.id}") as held:
            with abandoned(tmp_path) as found:
                assert found == ()
            assert held.is_dir()
        assert not held.exists()

    asyncio.run(held_for_a_while())
    code = (
        "import asyncio, os, sys; from pathlib import Path; from reconciler.services.scratch import scratch\n"
        "async def killed():\n"
        f"    async with scratch(Path(sys.argv[1]), 'verify-{RECORD.id}') as place:\n"
        "        (place / 'half').touch(); os.kill(os.getpid(), 9)\n"
        "asyncio.run(killed())"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=REPOSITORY, check=False)
    (left,) = (each for each in tmp_path.iterdir() if each.name.startswith(".draft-"))

    def down(_: str) -> ServiceSpec:
        raise ServiceError("its server left the settings")

    assert asyncio.run(remove_abandoned(tmp_path, down)) == ()
    assert left.is_dir()
    assert asyncio.run(remove_abandoned(tmp_path, lambda _: service)) == (left.name,)
    assert not left.exists()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("type: rabbitmq\nbackup: {every: 1d}", "4:9: backup: type rabbitmq cannot be backed up"),
        ("type: user-provided\ncredentials: {a: b}\nbackup: {every: 1d}", "5:9: backup: type user-provided cannot"),
        ("type: broker\nservice: s\nbackup: {every: 1d}", "5:9: backup: type broker cannot be backed up"),
        ("type: sqlite\nbackup: {keep: 3}", "4:9: backup.every: is required"),
        ("type: sqlite\nbackup: {every: 59s}", "4:17: backup.every: must be at least 1m"),
        ("type: sqlite\nbackup: {every: 1d, keep: 0}", "4:27: backup.keep: expected a number of backups"),
        ("type: sqlite\nbackup: {every: 1d, kept: 1}", "4:21: backup.kept: unknown field 'kept'"),
        ("type: sqlite\nbackup: daily", "4:9: backup: expected a schedule"),
    ],
)
def test_a_schedule_that_cannot_be_followed_is_refused_where_it_is_written(written: str, said: str) -> None:
    parsed = parse("/m/db.yaml", f"kind: service\nname: db\n{written}".encode(), HostDefaults())
    assert any(f"/m/db.yaml:{said}" in str(problem) for problem in parsed.problems), [*map(str, parsed.problems)]


def test_a_schedule_is_read() -> None:
    text = b"kind: service\nname: db\ntype: redis\nbackup: {every: 1h30m}\n"
    (document,) = parse("/m/db.yaml", text, HostDefaults()).services
    assert document.service.backup == BackupSchedule(every_s=5400.0, keep=7)


def test_the_last_good_backup_of_each_service_is_known(tmp_path: Path) -> None:
    paths = StatePaths(state=tmp_path)
    with contextlib.closing(open_database(paths.database)) as database:
        records = ServiceRecords(database, Vault(database, tmp_path / "key"))
        wanted = Service(name="db", manifest="db.yaml", type="sqlite")
        record = records.register(wanted, None, None, 0.0)
        records.note(record.id, made="first time")
    paths.backups.mkdir()
    made = new_backup(paths.backups, record, 1000.0, "schedule"), new_backup(paths.backups, record, 2000.0, "operator")
    bad, future = (new_backup(paths.backups, record, at, "schedule") for at in (3000.0, 9000.0))
    foreign = new_backup(paths.backups, RECORD, 2500.0, "operator")
    for file in (*made, bad, future, foreign):
        file.write_bytes(b"")
    record_verification(bad, Verification(at=3001.0, counted={}, failure="it is damaged"))
    with contextlib.closing(HostSnapshot(paths)) as snapshot:
        assert last_good(snapshot, 5000.0) == {"db": 2000.0}
    made[1].unlink()
    with contextlib.closing(HostSnapshot(paths)) as snapshot:
        assert last_good(snapshot, 5000.0) == {"db": 1000.0}
