"""A schedule backs up a database on a real server, and what it made is verified row by row and restored when asked."""

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.services.records import ServiceRecords
from reconciler.state.schema import open_database
from reconciler.vault.vault import Vault
from tests.servers.adapter import Adapter
from tests.support.eventually import eventually
from tests.support.pseudo_terminal import PseudoTerminal
from tests.support.site import Site

pytestmark = pytest.mark.nightly  # the first backups of a daemon are spread over some seconds


@pytest.fixture(params=["postgresql", "mysql"])
def running(request: pytest.FixtureRequest) -> Adapter:
    found: Adapter = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def settings(running: Adapter, site: Site) -> Path:
    """The settings of a host that name the server."""
    server, file = running.server, site.root / "host.yaml"
    assert server.password is not None
    named = {"type": server.type, "port": server.port, "user": server.user, "password": {"file": "password"}}
    site.save(site.root / "password", server.password.reveal())
    (site.root / "password").chmod(0o600)
    site.save(file, yaml.safe_dump({"services": {"servers": {"main": named}}}))
    return file


def manifest(site: Site, of_type: str, schedule: str = "") -> None:
    site.save(site.manifests / "db.yaml", f"kind: service\nname: db\ntype: {of_type}\n{schedule}")


def database_of(site: Site) -> str:
    """The database's name on the server, once it is there."""
    with closing(open_database(site.paths.database, read_only=True)) as database:
        records = ServiceRecords(database, Vault(database, site.state / "key")).of("db")
    assert [bool(record.made) for record in records] == [True]
    return f"db_{records[0].id}"


def listed(site: Site) -> list[dict[str, Any]]:
    listing = site.cli("backups", "db", "--json")
    assert listing.returncode == 0, listing.stderr
    found: list[dict[str, Any]] = json.loads(listing.stdout)
    return found


def rows(running: Adapter, database: str) -> int:
    ((number,),) = ask(running, database, "SELECT count(*) FROM posts")
    return int(number)


def ask(running: Any, database: str, statement: str) -> list[tuple[Any, ...]]:
    where = "dbname" if running.type == "postgresql" else "database"
    found: list[tuple[Any, ...]] = running.ask(statement, **{where: database})
    return found


@contextmanager
def asked(site: Site, *words: str) -> Iterator[PseudoTerminal]:
    """A command that asks a person at a terminal."""
    terminal = PseudoTerminal(site.command(*words))
    try:
        eventually(lambda: "[y/N]" in terminal.sent)
        yield terminal
    finally:
        terminal.close()


def test_a_schedule_backs_up_what_is_verified_and_restored(running: Adapter, site: Site, settings: Path) -> None:
    manifest(site, running.type)
    site.start("--settings", str(settings))
    database = eventually(lambda: database_of(site))
    eventually(lambda: ask(running, database, "SELECT 1"))
    ask(running, database, "CREATE TABLE posts (id int)")
    ask(running, database, "INSERT INTO posts VALUES (1), (2), (3)")

    before = time.time()  # noqa: TID251  to compare with the times of files
    manifest(site, running.type, "backup: {every: 1m, keep: 2}\n")
    (backup,) = eventually(lambda: listed(site))
    assert (backup["made_by"], backup["at"] >= int(before)) == ("schedule", True)
    assert site.paths.backups.joinpath(backup["name"]).stat().st_mode & 0o777 == 0o600
    told = site.cli("metrics").stdout
    assert f'reconciler_service_last_backup_timestamp_seconds{{service="db"}} {int(backup["at"])}\n' in told
    assert 'reconciler_service_backup_failures_total{service="db"} 0\n' in told

    verified = site.cli("verify-backup", "db")
    assert verified.returncode == 0, verified.stderr
    assert "3 rows" in verified.stdout
    assert listed(site)[0]["verification"]["counted"] == {"tables": 1, "rows": 3}
    assert rows(running, database) == 3

    ask(running, database, "DELETE FROM posts WHERE id > 1")
    refused = site.cli("restore", "db", backup["name"])
    assert refused.returncode == 1
    assert "--yes" in refused.stderr
    with asked(site, "restore", "db", backup["name"]) as terminal:
        terminal.type("n\n")
        assert terminal.await_end() == 1
    assert rows(running, database) == 1
    assert len(listed(site)) == 1
    with asked(site, "restore", "db", backup["name"]) as terminal:
        terminal.type("y\n")
        assert terminal.await_end() == 0, terminal.sent
    assert rows(running, database) == 3
    assert [row["made_by"] for row in listed(site) if row["made_by"] != "schedule"] == ["restore"]
