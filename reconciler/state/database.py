"""A connection to the state database that defers failed writes and retries them.

A full disk, a read-only file system or another program's lock delays writes; it stops no app and loses nothing that
this process lives to write. A row that the database would never take is dropped and told of: it holds up no other one.
"""

import sqlite3
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from reconciler.linux.encodable import encodable

_RETRY_S = 1.0
_MAX_DEFERRED = 5000
_LOCKED_MS = 100
# Of what a statement raises, these say that the row itself is at fault; any other sqlite3.Error may pass.
_UNFIT = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.NotSupportedError)


class Database(sqlite3.Connection):
    """A connection whose `write` raises sqlite3.Error like any other until `defer` is called."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._deferred: dict[Hashable, tuple[str, tuple[Any, ...]]] = {}
        self._defers = False
        self._on_dropped: Callable[[Hashable, Exception], None] = _ignored
        self._retry_at = 0.0
        self._in_transaction: list[Hashable] = []
        self.problem = ""
        self.on_owed: Callable[[], None] = _nothing  # called when a write is deferred

    def execute(self, statement: str, values: Any = (), /) -> sqlite3.Cursor:
        """Execute a statement; texts among the values are made encodable, as names of files need not be."""
        return super().execute(statement, tuple(map(_storable, values)))

    def executemany(self, statement: str, rows: Iterable[Any], /) -> sqlite3.Cursor:
        """Execute a statement for each row, as `execute` does for one."""
        return super().executemany(statement, (tuple(map(_storable, row)) for row in rows))

    def defer(self, on_dropped: Callable[[Hashable, Exception], None]) -> None:
        """Defer failed writes from now on; `problem` says why they fail, and is empty while none does.

        `on_dropped` is called with the key of a write that can never succeed, and with what it raises.
        """
        self._defers, self._on_dropped = True, on_dropped
        self.execute(f"PRAGMA busy_timeout={_LOCKED_MS}")

    def write(self, key: Hashable, statement: str, values: tuple[Any, ...]) -> int:
        """Change one row; return its number, 0 if the write is deferred.

        A write replaces a deferred one of the same key. Inside a transaction it is done or raises.
        """
        if self.in_transaction or not self._defers:
            number = self.execute(statement, values).lastrowid or 0
            self._in_transaction.append(key)
            return number
        self._deferred.pop(key, None)
        self._deferred[key] = (statement, values)
        while len(self._deferred) > _MAX_DEFERRED:  # after days; the oldest matter least
            del self._deferred[next(iter(self._deferred))]
        return self.flush()

    @contextmanager
    def lasting(self) -> Iterator[None]:
        """Make the writes inside one transaction that survives a power cut, at the cost of waiting for the disk."""
        self.execute("PRAGMA synchronous=FULL")
        try:
            with self.together():
                yield
        finally:
            self.execute("PRAGMA synchronous=NORMAL")

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make the writes inside one transaction; they replace deferred ones of the same keys once it is done."""
        self.execute("BEGIN IMMEDIATE")
        self._in_transaction.clear()
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self.in_transaction:  # a full disk may have ended it already
                self.execute("ROLLBACK")
            raise
        for key in self._in_transaction:
            self._deferred.pop(key, None)

    def flush(self) -> int:
        """Retry deferred writes, oldest first; return the last row's number, 0 if some are still deferred."""
        number = 0
        if time.monotonic() < self._retry_at:
            return 0
        dropped: list[tuple[Hashable, Exception]] = []
        while self._deferred:
            key, (statement, values) = next(iter(self._deferred.items()))
            try:
                number = self.execute(statement, values).lastrowid or 0
            except Exception as error:  # noqa: BLE001  whatever it is, the others' rows are written
                if self._may_pass(error):
                    self.problem = str(error)
                    self._retry_at = time.monotonic() + _RETRY_S
                    number = 0
                    self.on_owed()
                    break
                dropped.append((key, error))
                number = 0
            del self._deferred[key]
        else:
            self.problem = ""
        for key, why in dropped:  # last: who is told may write
            self._on_dropped(key, why)
        return number

    def _may_pass(self, error: Exception) -> bool:
        """Tell whether a write that raised this may succeed later; none does once the connection is closed."""
        try:
            _ = self.total_changes
        except sqlite3.ProgrammingError:
            return True
        unfit = isinstance(error, (*_UNFIT, sqlite3.ProgrammingError))
        return isinstance(error, sqlite3.Error | MemoryError) and not unfit

    @property
    def owes(self) -> bool:
        """Whether some writes are still to be done."""
        return bool(self._deferred)

    def is_deferred(self, key: Hashable) -> bool:
        """Return whether a write of this key is still to be done."""
        return key in self._deferred

    def disown(self, app: str) -> None:
        """Drop the deferred writes about an app; keys are tuples of a table and the row's name."""
        for key in [key for key in self._deferred if isinstance(key, tuple) and key[1:2] == (app,)]:
            del self._deferred[key]


def _storable(value: Any) -> Any:
    return encodable(value) if isinstance(value, str) else value


def _nothing() -> None:
    """Pass no word of a write that is deferred."""


def _ignored(key: Hashable, error: Exception) -> None:
    """Drop a write of a connection that defers none."""
