"""What the database cannot take is owed: in order, the latest word on each thing, and not for ever."""

import sqlite3
from collections.abc import Hashable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.planning.subject import Subject
from reconciler.state import database as module
from reconciler.state.database import Database
from reconciler.state.journal import Event, Journal
from reconciler.state.records import Records
from reconciler.state.schema import open_database
from tests.support.eventually import eventually


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(open_database(tmp_path / "reconciler.db")) as opened:
        yield opened


@pytest.fixture
def stranger(tmp_path: Path, database: Database) -> Iterator[sqlite3.Connection]:
    """Another program that can lock it; asked for after the database is made."""
    assert database.problem == ""
    with closing(sqlite3.connect(tmp_path / "reconciler.db", isolation_level=None)) as other:
        yield other


def _half_done(records: Records) -> None:
    with records.together():
        records.set_fact("a", "1")
        raise ZeroDivisionError


def never(key: Hashable, error: Exception) -> None:
    """A write that can never succeed: there is none here."""
    raise AssertionError(key) from error


def settled(database: Database) -> bool:
    database.flush()
    return not database.problem


def test_without_leave_to_owe_a_write_that_fails_raises(tmp_path: Path, database: Database) -> None:
    database.execute("PRAGMA busy_timeout=1")
    with closing(sqlite3.connect(tmp_path / "reconciler.db", isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            Records(database).set_fact("a", "1")


def test_what_is_owed_is_written_when_it_can_be_and_only_the_last_of_each(
    database: Database, stranger: sqlite3.Connection
) -> None:
    records = Records(database)
    database.defer(never)
    records.set_fact("a", "0")
    stranger.execute("BEGIN IMMEDIATE")
    for number in "123":
        records.set_fact("a", number)
    records.set_fact("b", "1")
    assert database.problem == "database is locked"
    assert (records.fact("a"), records.fact("b")) == ("0", None)
    stranger.execute("ROLLBACK")
    eventually(lambda: settled(database))
    assert (records.fact("a"), records.fact("b")) == ("3", "1")


def test_whoever_waits_for_something_owed_is_told_until_it_is_written(
    database: Database, stranger: sqlite3.Connection
) -> None:
    journal, owed = Journal(database), list[bool]()
    journal.on_owed(lambda: owed.append(journal.owes))
    database.defer(never)
    journal.write(Subject("app", "blog"), "ready", "written at once")
    assert (owed, journal.owes) == ([], False)
    stranger.execute("BEGIN IMMEDIATE")
    Records(database).set_fact("a", "1")
    assert owed == [True]
    assert journal.owes
    stranger.execute("ROLLBACK")

    def caught_up() -> bool:
        journal.catch_up()
        return not journal.owes

    eventually(caught_up)
    assert Records(database).fact("a") == "1"


def test_events_keep_their_order_and_are_shown_at_once(database: Database, stranger: sqlite3.Connection) -> None:
    journal, shown = Journal(database), list[Event]()
    journal.followers.append(shown.append)
    database.defer(never)
    stranger.execute("BEGIN IMMEDIATE")
    for number in range(3):
        journal.write(Subject("app", "blog"), "ready", f"event {number}")
    said = [event.text for event in shown if event.subject.name == "blog"]
    assert said == ["event 0", "event 1", "event 2"]
    stranger.execute("ROLLBACK")
    eventually(lambda: settled(database))
    journal.catch_up()
    written = journal.newest(None, 10)
    assert [event.text for event in written if event.subject.name == "blog"] == said
    told = [event.text for event in written if event.kind == "daemon"]
    assert told == [
        "cannot write to the state database: database is locked",
        "the state database can be written to again",
    ]


def test_what_is_owed_of_an_app_that_is_erased_is_not_written(database: Database, stranger: sqlite3.Connection) -> None:
    records = Records(database)
    database.defer(never)
    stranger.execute("BEGIN IMMEDIATE")
    records.set_history("blog", "pin", "1")
    records.set_history("shop", "pin", "2")
    stranger.execute("ROLLBACK")
    records.erase("blog")
    eventually(lambda: settled(database))
    assert records.histories() == {("shop", "pin"): "2"}


def test_a_transaction_is_all_or_nothing_and_never_owed(database: Database, stranger: sqlite3.Connection) -> None:
    records = Records(database)
    database.defer(never)
    stranger.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError), records.together():
        records.set_fact("a", "1")
    stranger.execute("ROLLBACK")
    with pytest.raises(ZeroDivisionError):
        _half_done(records)
    assert records.fact("a") is None


def test_what_is_owed_is_bounded_and_the_oldest_goes_first(database: Database, stranger: sqlite3.Connection) -> None:
    records = Records(database)
    database.defer(never)
    stranger.execute("BEGIN IMMEDIATE")
    for number in range(module._MAX_DEFERRED + 10):
        records.set_fact(str(number), "1")
    stranger.execute("ROLLBACK")
    eventually(lambda: settled(database))
    assert [records.fact(str(number)) for number in (0, 9, 10)] == [None, None, "1"]
    assert records.fact(str(module._MAX_DEFERRED + 9)) == "1"


@pytest.mark.parametrize(
    "name", ["\udcff", "a\ud800b", "\udcc3\udc28.txt", "\x00", "\u202e", "'\"; DROP TABLE fact", "😀"]
)
def test_a_name_of_any_bytes_is_stored_and_sent(database: Database, name: str) -> None:
    database.defer(never)
    records, journal, shown = Records(database), Journal(database), list[Event]()
    journal.followers.append(shown.append)
    records.set_fact("name", name)
    journal.write(Subject("app", "blog"), "data", f"wrote {name}", f"since {name}")
    found = (*journal.newest(None, 1), *shown)
    told = [str(records.fact("name")), *(text for event in found for text in (event.text, event.cause))]
    assert len(told) == 5
    assert [text.encode().decode() for text in told] == told


@pytest.mark.parametrize("value", [2**63, object(), None], ids=["too large", "of no type", "missing"])
def test_a_row_that_can_never_be_written_is_told_of_and_holds_up_no_other(
    database: Database, stranger: sqlite3.Connection, value: object
) -> None:
    told = list[tuple[Hashable, Exception]]()
    database.defer(lambda *what: told.append(what))
    records, statement = Records(database), "INSERT OR ABORT INTO fact VALUES (?, ?)"
    database.execute("CREATE TABLE strict_fact (name TEXT, value INTEGER NOT NULL)")
    stranger.execute("BEGIN IMMEDIATE")
    records.set_fact("before", "1")
    database.write(("strict_fact", "wrong"), statement.replace("fact", "strict_fact"), ("wrong", value))
    records.set_fact("after", "1")
    assert told == []
    stranger.execute("ROLLBACK")
    eventually(lambda: settled(database))
    assert (records.fact("before"), records.fact("after")) == ("1", "1")
    assert [key for key, _ in told] == [("strict_fact", "wrong")]


def test_what_was_owed_of_a_row_never_replaces_what_a_transaction_has_written_of_it_since(
    database: Database, stranger: sqlite3.Connection
) -> None:
    database.defer(never)
    records = Records(database)
    stranger.execute("BEGIN IMMEDIATE")
    records.set_fact("a", "older")
    records.set_fact("b", "owed")
    stranger.execute("ROLLBACK")
    with pytest.raises(ZeroDivisionError):
        _half_done(records)
    with records.lasting():
        records.set_fact("a", "newer")
    eventually(lambda: settled(database))
    assert (records.fact("a"), records.fact("b")) == ("newer", "owed")
