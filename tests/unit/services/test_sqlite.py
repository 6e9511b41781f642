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
    connect: Any = sqlite3.connect

    def noting_modes(database: str | Path, **options: Any) -> Any:
        opened = connect(database, **options)
        if (tmp_path / "dump").exists():
            modes.append((tmp_path / "dump").stat().st_mode & 0o777)
        return opened

    monkeypatch.setattr(sqlite3, "connect", noting_modes)
    asyncio.run(Sqlite().back_up(service, tmp_path / "dump"))
    assert modes
    assert set(modes) == {0o600}
    assert b"Ada" in (tmp_path / "dump").read_bytes()


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
