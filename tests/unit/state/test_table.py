"""One declaration gives what is read and what is written: the fields of a dataclass."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import pytest

from reconciler.state.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    x: int
    y: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ship:
    id: str
    at: Point
    afloat: bool
    length: float
    captain: str | None = None
    crew: tuple[str, ...] = ()


SHIPS = Table("ship", Ship, renamed={"at.y": "northing", "length": "metres"}, without=("crew",))
ANNA = Ship(id="anna", at=Point(x=1, y=2), afloat=True, length=12.5)
BELLA = Ship(id="bella", at=Point(x=3, y=4), afloat=False, length=9.0, captain="B")


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as database:
        # In another order than the fields: no statement relies on it.
        database.execute("CREATE TABLE ship (log, captain, afloat, metres, northing, x, id PRIMARY KEY, flag)")
        yield database


def test_what_was_put_is_read_again(database: sqlite3.Connection) -> None:
    for ship in (BELLA, ANNA):
        database.execute(*SHIPS.put(ship))
    found = SHIPS.rows(database, "ORDER BY id")
    assert found == [ANNA, BELLA]
    assert found[0].afloat is True
    assert SHIPS.rows(database, "WHERE northing > ?", (3,)) == [BELLA]


def test_a_column_that_is_no_field_is_passed_by_name_and_may_be_what_rows_are_found_by(
    database: sqlite3.Connection,
) -> None:
    database.execute(*SHIPS.put(ANNA, flag="red"))
    assert SHIPS.by(database, "flag") == {"red": ANNA}


def test_a_field_that_no_column_holds_has_its_default(database: sqlite3.Connection) -> None:
    database.execute(*SHIPS.put(replace(ANNA, crew=("cook",))))
    assert SHIPS.rows(database) == [ANNA]


def test_a_change_leaves_columns_that_are_not_named(database: sqlite3.Connection) -> None:
    database.execute(*SHIPS.put(ANNA, flag="red", log="calm"))
    database.execute(*SHIPS.put(BELLA, flag="blue", log="calm"))
    moved = replace(ANNA, at=Point(x=7, y=8))
    database.execute(*SHIPS.change(moved, "id", log="storm"))
    assert SHIPS.rows(database, "ORDER BY id") == [moved, BELLA]
    assert database.execute("SELECT flag, log FROM ship ORDER BY id").fetchall() == [("red", "storm"), ("blue", "calm")]
