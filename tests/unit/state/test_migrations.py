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
from reconciler.planning.address import Address
from reconciler.planning.apps.revision import Source
from reconciler.planning.subject import HOST, Subject
from reconciler.services.records import ServiceRecords
from reconciler.state import migrations
from reconciler.state.journal import KINDS, Journal
from reconciler.state.migrations import NEWEST, OLDEST, copy_of, version_of
from reconciler.state.records import AppStatus, Records, ServiceStatus
from reconciler.state.revision_history import RevisionHistory
from reconciler.state.schema import OtherVersion, open_database, open_or_rebuild
from reconciler.vault.env_files import EnvFiles
from reconciler.vault.vault import Vault

# Each written by the last commit of its version; what the vault holds is encrypted with the key beside it.
OLD = sorted((Path(__file__).parents[2] / "databases").glob("*.sql"))
OLDEST_TEXT = OLD[0]
BOOT = "00000000-0000-0000-0000-000000000000"

# Opens the database and is gone, as if killed, just before the statement of that number begins.
_KILLED = """\
import os, sqlite3, sys
from pathlib import Path
from reconciler.state import schema
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

schema.Database = Mortal
schema.open_database(Path(sys.argv[1]), upgrade=True).close()
"""


def old(text: Path, directory: Path) -> Path:
    """The state database that a text describes."""
    file = directory / "reconciler.db"
    with closing(sqlite3.connect(file)) as database:
        database.executescript(text.read_text(encoding="utf-8"))
        database.execute("PRAGMA journal_mode=WAL")
    return file


def schema(database: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    """Every table and index with its columns."""
    names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")]
    return {name: database.execute(f"SELECT * FROM pragma_table_xinfo('{name}')").fetchall() for name in sorted(names)}


def dump(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as database:
        return [*database.iterdump(), f"version {version_of(database)}"]


def states(file: Path) -> list[list[str]]:
    """A database as it is, and after each step of its upgrade."""
    found = [dump(file)]
    with closing(sqlite3.connect(file)) as database:
        for number in range(version_of(database), NEWEST):
            migrations._STEPS[number - OLDEST](database)
            database.execute(f"PRAGMA user_version={number + 1}")
            database.commit()
            found.append(dump(file))
    return found


def ids(files: Iterable[Path]) -> list[str]:
    return [file.stem for file in files]


@pytest.mark.parametrize("text", OLD, ids=ids(OLD))
def test_an_older_database_gets_the_schema_of_a_new_one(text: Path, tmp_path: Path) -> None:
    file = old(text, tmp_path)
    (tmp_path / "new").mkdir()
    with (
        closing(open_database(file, upgrade=True)) as database,
        closing(open_database(tmp_path / "new" / "reconciler.db")) as new,
    ):
        assert version_of(database) == version_of(new) == NEWEST
        assert schema(database) == schema(new)


@pytest.mark.parametrize(
    "missing", ["service", "service_grant", "service_use", "service_standing", "vault", "env_file"]
)
def test_a_table_of_services_that_version_2_had_not_created_yet_is_created(missing: str, tmp_path: Path) -> None:
    file = old(OLDEST_TEXT, tmp_path)
    with closing(sqlite3.connect(file)) as database:
        database.execute(f"DROP TABLE {missing}")
    (tmp_path / "new").mkdir()
    with (
        closing(open_database(file, upgrade=True)) as database,
        closing(open_database(tmp_path / "new" / "reconciler.db")) as new,
    ):
        assert schema(database) == schema(new)


def test_a_database_of_version_2_keeps_what_it_knows_of_apps(tmp_path: Path) -> None:
    with closing(open_database(old(OLDEST_TEXT, tmp_path), upgrade=True)) as database:
        records = Records(database)
        assert records.leases() == {"blog": 8001, "shop": 8002}
        assert records.manifests() == {"/srv/manifests/blog.yaml": b"path: ../apps/blog\n"}
        assert records.sources()["blog"] == (Source(path="/srv/apps/blog"), "c0ffee")
        assert records.releases() == {"blog": frozenset({"rel1"})}
        assert records.app_statuses() == {
            "blog": AppStatus(
                state="degraded", message="an older revision serves", wanted="r2", since=1.7e9, next_try_at=1.7e9 + 60
            ),
            "shop": AppStatus(state="running", message="", wanted="r3", since=1.7e9, next_try_at=None),
        }
        served, started = records.instances()
        assert (served.id, served.pid, served.ticks, served.workers) == ("i1", 4242, 777, 2)
        assert served.address == Address(host="127.0.0.1", port=8001)
        assert served.ready_at == 1012.5
        assert (started.id, started.ready_at) == ("i2", None)
        learnt = RevisionHistory(records, BOOT).of("blog")
        assert {(f.revision, f.kind, f.count) for f in learnt.failures} == {("r2", "rejected", 3), ("r1", "crashed", 1)}
        assert learnt.override is not None
        assert learnt.override.kind == "rolled back"
        assert learnt.override.revision == learnt.known_good[0]
        assert learnt.sleep_state.gate_passed == "r1"
        # An instance is probed by its own revision's health, and not at all where that was not recorded.
        good = learnt.known_good[0]
        assert (learnt.started_as(good.id), learnt.started_as("r2")) == (good, None)


def test_a_database_of_version_2_keeps_what_it_knows_of_services(tmp_path: Path) -> None:
    with closing(open_database(old(OLDEST_TEXT, tmp_path), upgrade=True)) as database:
        key = tmp_path / "key"
        key.write_text(OLDEST_TEXT.with_suffix(".key").read_text())
        key.chmod(0o600)
        service_records = ServiceRecords(database, Vault(database, key))
        (record,) = service_records.services()
        assert (record.name, record.type, record.made, record.grace_s) == ("blog-db", "sqlite", "made1", 3600.0)
        assert service_records.asked(record.id) == {"credentials": {"a": "b"}}
        bound, retiring = record.grants
        assert bound.credentials is not None
        assert service_records.credentials(bound.credentials)["password"] == "correct horse"
        assert service_records.parameters(bound.id) == {"role": "reader"}
        assert (retiring.app, retiring.due, retiring.retiring) == ("shop", "no such user", "a rotation was asked for")
        assert service_records.uses("blog") == {"r1": frozenset({bound.id})}
        statuses = Records(database).service_statuses()
        assert statuses["blog-db"] == ServiceStatus(state="ready", message="", since=1.7e9, size=4096)
        assert statuses["cache"].next_try_at == 1.7e9 + 9
        env_files = EnvFiles(database, service_records.vault)
        assert [service_records.vault.get(version) for version in env_files.versions()] == ["correct horse"]


def test_every_event_of_version_2_is_kept_with_its_subject_and_the_words_of_today(tmp_path: Path) -> None:
    file = old(OLDEST_TEXT, tmp_path)
    with closing(sqlite3.connect(file)) as database:
        before = database.execute("SELECT id, at, text, cause FROM event ORDER BY id").fetchall()
    with closing(open_database(file, upgrade=True)) as database:
        journal = Journal(database)
        events = journal.newest(None, 1000)
        assert [(e.id, e.at, e.text, e.cause) for e in events] == before
        assert {event.kind for event in events} <= set(KINDS)
        assert {event.subject for event in events} == {
            HOST, Subject("app", "blog"), Subject("service", "blog-db"), Subject("service", "cache"),
        }  # fmt: skip
        assert [e.text for e in journal.newest(Subject("service", "cache"), 9)] == ["cannot reach it"]
        assert {e.kind for e in events if e.text.startswith("wish ")} == {"request"}
        assert [e.subject for e in journal.newest(None, 9, kinds=["exited"])] == [Subject("app", "blog")]


@pytest.mark.parametrize("text", OLD, ids=ids(OLD))
def test_a_copy_of_the_older_database_is_kept_for_its_owner_alone(text: Path, tmp_path: Path) -> None:
    file = old(text, tmp_path)
    before = dump(file)
    open_database(file, upgrade=True).close()
    copy = copy_of(file, int(text.stem.removeprefix("version-")))
    assert dump(copy) == before
    assert dump(file)[-1] == f"version {NEWEST}"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert not list(tmp_path.glob("*.draft"))


def test_an_app_that_was_deployed_before_releases_were_recorded_has_none(tmp_path: Path) -> None:
    with closing(open_database(old(OLD[1], tmp_path), upgrade=True)) as database:
        records = Records(database)
        assert RevisionHistory(records, BOOT).of("blog").known_good
        assert records.release_log.of("blog") == ()


def test_releases_of_before_are_kept_and_came_with_no_commit_that_is_known(tmp_path: Path) -> None:
    with closing(open_database(old(OLD[2], tmp_path), upgrade=True)) as database:
        found = Records(database).release_log.of("blog")
    assert [(each.number, each.initiator, each.git_commit) for each in found] == [
        (2, "source", ""),
        (1, "manifest", ""),
    ]


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
    (tmp_path / "steps").mkdir()
    steps = states(old(OLD[0], tmp_path / "steps"))
    assert steps[-1] == after
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
        assert dump(file) in steps
        open_database(file, upgrade=True).close()
        assert dump(file) == after
        assert dump(copy_of(file, OLDEST)) == before
    assert kills > 5


def test_a_step_that_fails_changes_nothing(tmp_path: Path) -> None:
    file = old(OLD[0], tmp_path)
    with closing(sqlite3.connect(file)) as database:
        database.execute("ALTER TABLE service_standing ADD COLUMN reason TEXT")
    before = dump(file)
    with pytest.raises(sqlite3.OperationalError, match="duplicate column name: reason"):
        open_database(file, upgrade=True)
    assert dump(file) == before


def test_nothing_is_changed_where_no_copy_can_be_kept(tmp_path: Path) -> None:
    file = old(OLD[0], tmp_path)
    before = dump(file)
    copy_of(file, OLDEST).mkdir()
    with pytest.raises(sqlite3.OperationalError, match="cannot copy the database before upgrading it"):
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


def test_a_database_from_before_the_oldest_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    file = old(OLDEST_TEXT, tmp_path)
    with closing(sqlite3.connect(file)) as database:
        database.execute(f"PRAGMA user_version={OLDEST - 1}")
    before = dump(file)
    with pytest.raises(OtherVersion, match="too old to upgrade from"):
        open_or_rebuild(file)
    assert dump(file) == before
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_newer_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    file = old(OLD[-1], tmp_path)
    with closing(sqlite3.connect(file)) as database:
        database.execute(f"PRAGMA user_version={NEWEST + 1}")
    before = dump(file)
    with pytest.raises(OtherVersion, match="newer reconciler"):
        open_or_rebuild(file)
    assert dump(file) == before
    assert not copy_of(file, NEWEST + 1).exists()
