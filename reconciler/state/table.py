"""A table of the state database as rows of a dataclass, whose fields are its columns.

A column is named once, as a field: reading and writing follow from it.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass
from operator import attrgetter
from typing import Any, Generic, TypeVar

Row = TypeVar("Row")
Statement = tuple[str, tuple[Any, ...]]

_NOTHING: Mapping[str, str] = {}


class Table(Generic[Row]):
    """The table `name` of rows of a class. A field that is a dataclass itself is stored as that one's fields.

    `renamed` maps a field (`parameters`, `subject.kind`) to a column of another name; `without` are fields that no
    column holds. Columns that are no field of the row are passed by name.
    """

    def __init__(
        self, name: str, row: type[Row], *, renamed: Mapping[str, str] = _NOTHING, without: Collection[str] = ()
    ) -> None:
        self._name = name
        stored = {path: column for path, column in _columns_of(row, "") if path not in without}
        self._columns = tuple(renamed.get(path, column) for path, column in stored.items())
        self._getters = tuple(attrgetter(path) for path in stored)
        self._row, _ = _reader(row, without, 0)

    def rows(self, database: sqlite3.Connection, rest: str = "", values: tuple[Any, ...] = ()) -> list[Row]:
        """Return the rows that `rest`, the clauses after FROM, selects."""
        return [self._row(found) for found in self._select(database, (), rest, values)]

    def by(self, database: sqlite3.Connection, column: str) -> dict[str, Row]:
        """Return every row by a column that is no field of it."""
        return {found[-1]: self._row(found) for found in self._select(database, (column,), "", ())}

    def put(self, row: Row, **others: Any) -> Statement:
        """Return the statement that writes a whole row, new or changed, and its values."""
        return self._insert("INSERT OR REPLACE", row, others)

    def add(self, row: Row, **others: Any) -> Statement:
        """Return the statement that writes a new row, which fails if one has any of its keys, and its values."""
        return self._insert("INSERT", row, others)

    def change(self, row: Row, key: str, **others: Any) -> Statement:
        """Return the statement that changes the row of the same `key`, a column, and leaves columns not named."""
        columns = (*self._columns, *others)
        changes = ", ".join(f"{column} = ?" for column in columns)
        values = (*self._values(row), *others.values())
        statement = f"UPDATE {self._name} SET {changes} WHERE {key} = ?"  # noqa: S608  names of ours
        return statement, (*values, values[columns.index(key)])

    def _insert(self, verb: str, row: Row, others: Mapping[str, Any]) -> Statement:
        columns = (*self._columns, *others)
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        return f"{verb} INTO {self._name} ({names}) VALUES ({marks})", (*self._values(row), *others.values())

    def _values(self, row: Row) -> tuple[Any, ...]:
        return tuple(get(row) for get in self._getters)

    def _select(
        self, database: sqlite3.Connection, others: tuple[str, ...], rest: str, values: tuple[Any, ...]
    ) -> Iterator[tuple[Any, ...]]:
        columns = ", ".join((*self._columns, *others))
        statement = f"SELECT {columns} FROM {self._name} {rest}"  # noqa: S608  names of ours
        return iter(database.execute(statement, values))


def _columns_of(row: Any, path: str) -> Iterator[tuple[str, str]]:
    """Each stored field with its path from the row, and the column of its name."""
    for field in fields(row):
        if is_dataclass(field.type):
            yield from _columns_of(field.type, f"{path}{field.name}.")
        else:
            yield f"{path}{field.name}", field.name


def _reader(row: Any, without: Collection[str], first: int) -> tuple[Callable[[tuple[Any, ...]], Any], int]:
    """Return what makes a row of the columns from `first` on, and the number of the column after them."""
    readers: list[tuple[str, Callable[[tuple[Any, ...]], Any]]] = []
    for field in fields(row):
        if field.name in without:
            continue
        if is_dataclass(field.type):
            read, first = _reader(field.type, (), first)
        else:
            read, first = _column(first, as_bool=field.type is bool), first + 1
        readers.append((field.name, read))
    return lambda found: row(**{name: read(found) for name, read in readers}), first


def _column(number: int, *, as_bool: bool) -> Callable[[tuple[Any, ...]], Any]:
    if as_bool:  # SQLite has numbers for it
        return lambda found: bool(found[number])
    return lambda found: found[number]
