"""A database of every older version, as `databases` has them, becomes one of this, and a kill loses nothing."""

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli.main import group
from reconciler.planning.desired import Address
from reconciler.state.migrations import NEWEST, copy_of, version_of
from reconciler.state.records import OtherVersion, Records, open_database, open_or_rebuild

OLD = sorted((Path(__file__).parents[2] / "databases").glob("*.sql"))

# Opens the database and is gone, as if killed, just before the statement of that number begins.
_KILLED = """\
import os, sqlite3, sys
from pathlib import Path
from reconciler.state import records
from reconciler.state.database import Database

class Mortal(Database):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.left = int(sys.argv[2])
        self.set_trace_callback(self.count)

    def count(self, statement):
        if self.left == 0:
            os._exit(9)
        self.left -= 1

records.Database = Mortal
records.open_database(Path(sys.argv[1]), upgrade=True).close()
"""


def old(text: Path, directory: Path) -> Path:
    """The state database that a text describes."""
    file = directory / "reconciler.db"
    with closing(sqlite3.connect(file)) as database:
        database.executescript(text.read_text(encoding="utf-8"))
        database.execute("PRAGMA journal_mode=WAL")
    return file


def shape(database: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    """Every table and index with its columns."""
    names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")]
    return {name: database.execute(f"SELECT * FROM pragma_table_xinfo('{name}')").fetchall() for name in sorted(names)}


def dump(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as database:
        return [*database.iterdump(), f"version {version_of(database)}"]


def without_services(found: dict[str, list[tuple[object, ...]]]) -> dict[str, list[tuple[object, ...]]]:
    """What is on record of services is made by their ledger when it is first wanted."""
    return {name: columns for name, columns in found.items() if not name.startswith(("service", "env_file", "vault"))}


def ids(files: Iterable[Path]) -> list[str]:
    return [file.stem for file in files]


@pytest.mark.parametrize("text", OLD, ids=ids(OLD))
def test_an_older_database_gets_the_shape_of_a_new_one_and_keeps_what_it_knows(text: Path, tmp_path: Path) -> None:
    file = old(text, tmp_path)
    (tmp_path / "new").mkdir()
    with (
        closing(open_database(file, upgrade=True)) as database,
        closing(open_database(tmp_path / "new" / "reconciler.db")) as new,
    ):
        assert version_of(database) == version_of(new) == NEWEST
        assert without_services(shape(database)) == shape(new)
        records = Records(database)
        assert records.leases() == {"blog": 8001, "shop": 8002}
        assert records.manifests() == {"/srv/manifests/blog.yaml": b"path: ../apps/blog\n"}
        assert records.sources()["blog"][1] == "c0ffee"
        assert records.app_statuses()["blog"].state == "running"
        served, started = records.instances()
        assert (served.id, served.pid, served.ticks, served.workers) == ("i1", 4242, 777, 2)
        assert served.address == Address(host="127.0.0.1", port=8001)
        assert served.ready_at is not None
        assert (started.id, started.ready_at) == ("i2", None)
        assert database.execute("SELECT app, kind, text FROM event").fetchall() == [("blog", "ready", "r1 serves")]


@pytest.mark.parametrize("text", OLD, ids=ids(OLD))
def test_a_copy_of_the_older_database_is_kept_for_its_owner_alone(text: Path, tmp_path: Path) -> None:
    file = old(text, tmp_path)
    before = dump(file)
    open_database(file, upgrade=True).close()
    copy = copy_of(file, 1)
    assert dump(copy) == before
    assert dump(file)[-1] == f"version {NEWEST}"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert not list(tmp_path.glob("*.draft"))


def test_a_database_of_this_version_is_not_copied(tmp_path: Path) -> None:
    for _ in range(2):
        database, lost = open_or_rebuild(tmp_path / "reconciler.db")
        database.close()
        assert not lost
    assert {path.name for path in tmp_path.iterdir()} == {"reconciler.db"}


def test_whatever_statement_a_kill_interrupts_the_next_opening_finishes_it(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = old(OLD[0], tmp_path / "whole")
    open_database(whole, upgrade=True).close()
    after = dump(whole)
    kills = 0
    while True:
        directory = tmp_path / str(kills)
        directory.mkdir()
        file = old(OLD[0], directory)
        before = dump(file)
        killed = subprocess.run(
            [sys.executable, "-c", _KILLED, file, str(kills)], capture_output=True, text=True, timeout=300, check=False
        )
        assert killed.returncode in {0, 9}, killed.stderr
        if killed.returncode == 0:
            break
        kills += 1
        assert dump(file) in (before, after)
        open_database(file, upgrade=True).close()
        assert dump(file) == after
        assert dump(copy_of(file, 1)) == before
    assert kills > 5


def test_a_step_that_fails_changes_nothing(tmp_path: Path) -> None:
    file = old(OLD[0], tmp_path)
    with closing(sqlite3.connect(file)) as database:
        database.execute("DROP TABLE crash")
        database.execute("CREATE VIEW crash AS SELECT 1 AS app")
    before = dump(file)
    with pytest.raises(sqlite3.OperationalError, match="use DROP VIEW"):
        open_database(file, upgrade=True)
    assert dump(file) == before


def test_nothing_is_changed_where_no_copy_can_be_kept(tmp_path: Path) -> None:
    file = old(OLD[0], tmp_path)
    before = dump(file)
    copy_of(file, 1).mkdir()
    with pytest.raises(sqlite3.OperationalError, match="no copy can be kept"):
        open_database(file, upgrade=True)
    assert dump(file) == before


def test_whoever_is_not_the_daemon_leaves_an_older_database_as_it_is_and_says_what_to_do(tmp_path: Path) -> None:
    file = old(OLD[-1], tmp_path)
    before = dump(file)
    with pytest.raises(OtherVersion, match="older reconciler"):
        open_database(file)
    for command in ("status", "events"):
        told = CliRunner().invoke(group, [command, "--state", str(tmp_path)])
        assert told.exit_code == 1
        assert "was written by an older reconciler" in told.output
        assert "restart the daemon" in told.output
    assert dump(file) == before


def test_a_newer_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    file = old(OLD[-1], tmp_path)
    with closing(sqlite3.connect(file)) as database:
        database.execute(f"PRAGMA user_version={NEWEST + 1}")
    before = dump(file)
    with pytest.raises(OtherVersion, match="newer reconciler"):
        open_or_rebuild(file)
    assert dump(file) == before
    assert not copy_of(file, NEWEST + 1).exists()
