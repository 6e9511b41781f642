"""A database in a file: who may read its backup, and what its client imports."""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.services.provisioner import Grant, ServiceError, ServiceSpec
from reconciler.services.types.sqlite import apart, provisioner
from reconciler.services.types.sqlite.provisioner import Sqlite
from reconciler.vault.secret import Secret


@pytest.fixture
def readable_by_default() -> Iterator[None]:
    """A process whose new files every user may read."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def service(tmp_path: Path) -> ServiceSpec:
    """A database with one row."""
    spec = ServiceSpec(
        id="0" * 12, name="db", type="sqlite", plan="free", server=None, asked={}, directory=tmp_path / "db"
    )
    asyncio.run(Sqlite().provision(spec))
    with contextlib.closing(sqlite3.connect(spec.directory / "db.sqlite3")) as database:
        database.execute("CREATE TABLE customer AS SELECT 'Ada' AS name")
        database.commit()
    return spec


@pytest.mark.usefixtures("readable_by_default")
def test_a_backup_is_its_owners_alone_from_its_first_byte(
    service: ServiceSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []

    async def noting_modes(*arguments: Any, file: str) -> Any:
        modes.append(Path(file).stat().st_mode & 0o777)
        return await apart.apart(*arguments, file=file)

    monkeypatch.setattr(provisioner, "apart", noting_modes)
    asyncio.run(Sqlite().back_up(service, tmp_path / "dump"))
    assert modes == [0o600]
    assert (tmp_path / "dump").stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.glob("dump*")] == ["dump"]
    assert b"Ada" in (tmp_path / "dump").read_bytes()


def test_a_database_of_holes_is_not_copied_until_the_disk_is_full(service: ServiceSpec, tmp_path: Path) -> None:
    file, pages = service.directory / "db.sqlite3", 1 << 20
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA journal_mode=DELETE")
    with file.open("r+b") as written:  # as its app may: the number of pages, and that it is the one to go by
        counter = file.read_bytes()[24:28]
        for at, value in ((28, pages.to_bytes(4, "big")), (92, counter)):
            written.seek(at)
            written.write(value)
        written.truncate(pages * 4096)
    with contextlib.closing(sqlite3.connect(file)) as database:
        assert database.execute("PRAGMA page_count").fetchone() == (pages,)
    with pytest.raises(ServiceError, match=r"^cannot back up db: .* 4294967296 bytes, of which \d+ are on the disk$"):
        asyncio.run(Sqlite().back_up(service, tmp_path / "dump"))
    assert (tmp_path / "dump").stat().st_size < 1 << 20


def test_a_backup_is_written_to_no_file_that_someone_else_put_there(service: ServiceSpec, tmp_path: Path) -> None:
    (tmp_path / "dump").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ServiceError, match="File exists"):
        asyncio.run(Sqlite().back_up(service, tmp_path / "dump"))
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.usefixtures("readable_by_default")
def test_a_new_database_is_its_owners_alone(service: ServiceSpec) -> None:
    assert (service.directory / "db.sqlite3").stat().st_mode & 0o777 == 0o600


def test_the_client_imports_nothing_of_the_current_directory(
    service: ServiceSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    for module in ("reconciler/__init__.py", "sqlite3.py", "collections.py"):
        (here / module).parent.mkdir(parents=True, exist_ok=True)
        (here / module).write_text("print('planted')\n")
    monkeypatch.setenv("PATH", "/nowhere")  # no sqlite3 program
    monkeypatch.setenv("PYTHONPATH", str(here))
    client = Sqlite().client(service, {})
    done = subprocess.run(
        [*client.argv, "SELECT name FROM customer"], cwd=here, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "Ada\n")


@pytest.mark.parametrize("ending", ["", "-journal", "-wal", "-shm"])
def test_a_pipe_in_the_place_of_a_file_of_a_database_is_never_opened(service: ServiceSpec, ending: str) -> None:
    place, sqlite = service.directory / f"db.sqlite3{ending}", Sqlite()
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    grant = Grant(id="1" * 12, app="blog", user="blog", password=Secret(""))
    credentials = {"name": "db", **dict.fromkeys(("path", "filename"), str(service.directory / "db.sqlite3"))}
    credentials["uri"] = f"sqlite:///{credentials['path']}"
    for attempt in (
        sqlite.provision(service),
        sqlite.verify(service, grant, credentials),
        sqlite.back_up(service, service.directory.parent / "backup"),
    ):
        with pytest.raises(ServiceError, match=f"db.sqlite3{ending} is no regular file: remove it"):
            asyncio.run(attempt)


def test_what_a_link_in_the_place_of_a_database_leads_to_keeps_its_mode(service: ServiceSpec, tmp_path: Path) -> None:
    other, place = tmp_path / "other", service.directory / "db.sqlite3"
    other.touch(0o644)
    place.unlink()
    place.symlink_to(other)
    with pytest.raises(ServiceError, match="is no regular file"):
        asyncio.run(Sqlite().bind(service, None))  # type: ignore[arg-type]  # a file has no users
    assert other.stat().st_mode & 0o777 == 0o644


_GROUP = 64321  # of nobody
_AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="apps have users of their own under root alone")


@pytest.fixture
def shared(service: ServiceSpec) -> ServiceSpec:
    """A database that apps with users of their own share."""
    os.chown(service.directory, -1, _GROUP)
    service.directory.chmod(0o2770)
    for file in service.directory.iterdir():
        os.chown(file, -1, _GROUP)
        file.chmod(0o660)
    return service


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A database of somebody else."""
    with contextlib.closing(sqlite3.connect(tmp_path / "other.sqlite3")) as database:
        database.execute("CREATE TABLE secret AS SELECT 'Eve' AS name")
        database.commit()
    return tmp_path / "other.sqlite3"


def _names(file: Path) -> list[tuple[str]]:
    with contextlib.closing(sqlite3.connect(file)) as database:
        return database.execute("SELECT name FROM customer").fetchall()


def _do_all(service: ServiceSpec, directory: Path) -> None:
    """Do what opens a database, with or without success; the backup is a copy, and `dump` is restored."""
    for attempt in (
        Sqlite().back_up(service, directory / "copy"),
        Sqlite().restore(service, directory / "dump"),
        Sqlite().provision(service),
    ):
        with contextlib.suppress(ServiceError):
            asyncio.run(attempt)


@_AS_ROOT
def test_a_shared_database_is_made_backed_up_verified_and_restored(shared: ServiceSpec, tmp_path: Path) -> None:
    file, sqlite = shared.directory / "db.sqlite3", Sqlite()
    asyncio.run(sqlite.back_up(shared, tmp_path / "dump"))
    (tmp_path / "scratch").mkdir()
    assert asyncio.run(sqlite.verify_backup(shared, tmp_path / "dump", tmp_path / "scratch")) == {
        "tables": 1,
        "rows": 1,
    }
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("DELETE FROM customer")
        database.commit()
    asyncio.run(sqlite.restore(shared, tmp_path / "dump"))
    assert _names(file) == [("Ada",)]
    file.unlink()
    asyncio.run(sqlite.provision(shared))
    found = file.stat()
    assert (found.st_mode & 0o777, found.st_gid) == (0o660, _GROUP)
    assert file.read_bytes()[18:20] == b"\2\2", "it has a write-ahead log"


@_AS_ROOT
@pytest.mark.parametrize("ending", ["", "-wal"])
def test_a_link_that_an_app_makes_once_its_database_was_looked_at_leads_to_nothing(
    shared: ServiceSpec, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    asyncio.run(Sqlite().back_up(shared, tmp_path / "dump"))
    before = other.read_bytes()
    place = shared.directory / f"db.sqlite3{ending}"
    place.unlink(missing_ok=True)
    place.symlink_to(other)
    monkeypatch.setattr(provisioner, "_require_regular", lambda _: None)
    _do_all(shared, tmp_path)
    assert other.read_bytes() == before
    assert b"Eve" not in (tmp_path / "copy").read_bytes()


@pytest.mark.parametrize("ending", ["", "-journal", "-wal"])
def test_a_pipe_that_an_app_makes_once_its_database_was_looked_at_is_not_waited_for(
    service: ServiceSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    asyncio.run(Sqlite().back_up(service, tmp_path / "dump"))
    place = service.directory / f"db.sqlite3{ending}"
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    monkeypatch.setattr(provisioner, "_require_regular", lambda _: None)
    monkeypatch.setattr(apart, "_PATIENCE_S", 1)
    _do_all(service, tmp_path)


def test_a_process_that_works_with_a_database_ends_with_whoever_waits_for_it(
    service: ServiceSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(service.directory / "db.sqlite3-journal")
    monkeypatch.setattr(provisioner, "_require_regular", lambda _: None)

    async def backed_up() -> None:
        async with asyncio.timeout(2):
            await Sqlite().back_up(service, tmp_path / "dump")

    with pytest.raises(TimeoutError):
        asyncio.run(backed_up())
    assert _children() == []


def _children() -> list[str]:
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return [pid for pid in text.split() if b"apart_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_what_is_no_database_counts_as_damaged(service: ServiceSpec) -> None:
    file = service.directory / "db.sqlite3"
    grant = Grant(id="1" * 12, app="blog", user="blog", password=Secret(""))
    credentials = asyncio.run(Sqlite().bind(service, grant))
    assert asyncio.run(Sqlite().verify(service, grant, credentials)) is None
    for content in (b"x" * 4096, b"SQLite format 3\0"):
        file.write_bytes(content)
        with pytest.raises(ServiceError, match="is damaged"):
            asyncio.run(Sqlite().verify(service, grant, credentials))
    file.write_bytes(b"")
    assert asyncio.run(Sqlite().verify(service, grant, credentials)) is None, "SQLite makes one of an empty file"
    file.unlink()
    assert "is gone" in str(asyncio.run(Sqlite().verify(service, grant, credentials)))
