"""A connection to the state database that defers failed writes and retries them.

A full disk, a read-only file system or another program's lock delays writes; it stops no app and loses nothing that
this process lives to write.
"""

import sqlite3
import time
from collections.abc import Hashable
from typing import Any

_RETRY_S = 1.0
_MAX_DEFERRED = 5000
_LOCKED_MS = 100


class Database(sqlite3.Connection):
    """A connection whose `write` raises sqlite3.Error like any other until `defer` is called."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._deferred: dict[Hashable, tuple[str, tuple[Any, ...]]] = {}
        self._defers = False
        self._retry_at = 0.0
        self.problem = ""

    def defer(self) -> None:
        """Defer failed writes from now on; `problem` says why they fail, and is empty while none does."""
        self._defers = True
        self.execute(f"PRAGMA busy_timeout={_LOCKED_MS}")

    def write(self, key: Hashable, statement: str, values: tuple[Any, ...]) -> int:
        """Change one row; return its number, 0 if the write is deferred.

        A write replaces a deferred one of the same key. Inside a transaction it is done or raises.
        """
        if self.in_transaction or not self._defers:
            return self.execute(statement, values).lastrowid or 0
        self._deferred.pop(key, None)
        self._deferred[key] = (statement, values)
        while len(self._deferred) > _MAX_DEFERRED:  # after days; the oldest matter least
            del self._deferred[next(iter(self._deferred))]
        return self.flush()

    def flush(self) -> int:
        """Retry deferred writes, oldest first; return the last row's number, 0 if some are still deferred."""
        number = 0
        if time.monotonic() < self._retry_at:
            return 0
        try:
            while self._deferred:
                key, (statement, values) = next(iter(self._deferred.items()))
                number = self.execute(statement, values).lastrowid or 0
                del self._deferred[key]
        except sqlite3.Error as error:
            self.problem = str(error)
            self._retry_at = time.monotonic() + _RETRY_S
            return 0
        self.problem = ""
        return number

    def disown(self, app: str) -> None:
        """Drop the deferred writes about an app; keys are tuples of a table and the row's name."""
        for key in [key for key in self._deferred if isinstance(key, tuple) and key[1:2] == (app,)]:
            del self._deferred[key]
