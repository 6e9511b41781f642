"""The state database's connection: what it cannot take now is owed, and written as soon as it can be.

A disk without space, a file system gone read-only or another program's lock delay what is written down; they stop no
app and lose nothing that this process lives to write.
"""

import sqlite3
import time
from collections.abc import Hashable
from typing import Any

_AGAIN_S = 1.0
_MOST_OWED = 5000
_LOCKED_MS = 100


class Database(sqlite3.Connection):
    """A connection whose `write` raises sqlite3.Error like any other, until `defer` was called."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._owed: dict[Hashable, tuple[str, tuple[Any, ...]]] = {}
        self._defers = False
        self._again_at = 0.0
        self.problem = ""

    def defer(self) -> None:
        """From now on nothing waits for long, and what fails is owed; `problem` then says why, and is empty else."""
        self._defers = True
        self.execute(f"PRAGMA busy_timeout={_LOCKED_MS}")

    def write(self, key: Hashable, statement: str, values: tuple[Any, ...]) -> int:
        """Change one thing; returns the row's number, 0 while it is owed.

        What is owed under the same key is no longer wanted. Inside a transaction it is done or raises.
        """
        if self.in_transaction or not self._defers:
            return self.execute(statement, values).lastrowid or 0
        self._owed.pop(key, None)
        self._owed[key] = (statement, values)
        while len(self._owed) > _MOST_OWED:  # for days: the oldest are the least worth
            del self._owed[next(iter(self._owed))]
        return self.flush()

    def flush(self) -> int:
        """Write what is owed, oldest first; returns the last row's number, 0 when something is still owed."""
        number = 0
        if time.monotonic() < self._again_at:
            return 0
        try:
            while self._owed:
                key, (statement, values) = next(iter(self._owed.items()))
                number = self.execute(statement, values).lastrowid or 0
                del self._owed[key]
        except sqlite3.Error as error:
            self.problem = str(error)
            self._again_at = time.monotonic() + _AGAIN_S
            return 0
        self.problem = ""
        return number

    def disown(self, app: str) -> None:
        """Write no more of what is owed about an app: keys are tuples of a table and what names the row."""
        for key in [key for key in self._owed if isinstance(key, tuple) and key[1:2] == (app,)]:
            del self._owed[key]
