"""Work with a database in a process of its own: what an app makes of its files can hold up this process alone.

A script, run as `python -I -S apart_main.py` with one JSON object on standard input, a `Request` of apart.py. It prints
a JSON object: what it found, or `error`. It ends by SIGALRM where a file lets it wait for too long.

Where `group` is not 0, apps with users of their own write to the directory: the process gives up the rest of the host
before it opens the database, so that no link there leads out, and works as a user that has no more rights than they.
Imports the standard library alone.
"""

import contextlib
import json
import os
import resource
import signal
import sqlite3
import sys
from typing import Any
from urllib.parse import quote

_LOCKED_S = 30.0
_CHECKING_S = 3600
_PAGES_AT_ONCE = 1024
_MEMORY = 1 << 30  # bytes
_BLOCK = 512  # of what stat(2) counts
# A database beyond this size is copied only if it is no more than so many times as large as what is on the disk of it.
# A file system that compresses does not reach that.
_LARGE, _MOST_TIMES_STORED = 1 << 30, 64


class _Damaged(Exception):
    """A database that is not whole; the message says of what kind it is."""


def _confined(asked: dict[str, Any], directory: str, name: str) -> str:
    """Give up all but a directory if apps with users of their own wrote what is read; return the path of its file."""
    group = int(asked["group"])
    if not group:
        return f"{directory}/{name}"
    os.chroot(directory)
    os.chdir("/")
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(group, group, group)
    return f"/{name}"


def _opened(database: str, *, uri: bool = False) -> "contextlib.closing[sqlite3.Connection]":
    connection = sqlite3.connect(database, uri=uri, timeout=_LOCKED_S)
    # Nothing that its content names is run, and nothing is written but to the database and what belongs to it.
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA temp_store=MEMORY")
    return contextlib.closing(connection)


def _copy(held: sqlite3.Connection, taken: sqlite3.Connection, patience_s: int) -> None:
    left = -1

    def go_on(_: int, remaining: int, __: int) -> None:
        nonlocal left
        if remaining != left:
            left = remaining
            signal.alarm(patience_s)

    signal.alarm(patience_s)
    taken.execute("PRAGMA synchronous=FULL")
    # Within one transaction: otherwise each write of an app would have the copy begin again.
    held.execute("BEGIN")
    held.execute("SELECT 1 FROM sqlite_master").fetchone()
    _require_stored(held)
    held.backup(taken, pages=_PAGES_AT_ONCE, progress=go_on)


def _require_stored(held: sqlite3.Connection) -> None:
    """Raise _Damaged if next to nothing of a large database is on the disk: a copy of its holes would fill that."""
    pages, page_size = (held.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    file, stored = held.execute("PRAGMA database_list").fetchone()[2], 0
    for place in (file, f"{file}-wal"):
        with contextlib.suppress(FileNotFoundError):
            stored += os.stat(place).st_blocks * _BLOCK  # noqa: PTH116  as in the rest of this script
    if pages * page_size > max(_LARGE, _MOST_TIMES_STORED * stored):
        raise _Damaged(f"it says that it has {pages * page_size} bytes, of which {stored} are on the disk")


def _make(asked: dict[str, Any]) -> dict[str, Any]:
    with _opened(_confined(asked, asked["directory"], asked["name"])) as database:
        # Readers and a writer at once; it is kept in the file, so that it is made here for every app.
        database.execute("PRAGMA journal_mode=WAL")
    return {}


def _back_up(asked: dict[str, Any]) -> dict[str, Any]:
    with _opened(asked["file"]) as taken:
        _without_files(taken)
        path = _confined(asked, asked["directory"], asked["name"])
        with _opened(f"file:{quote(os.fsencode(path))}?mode=ro", uri=True) as held:
            _copy(held, taken, asked["patience_s"])
    return {}


def _restore(asked: dict[str, Any]) -> dict[str, Any]:
    with _opened(asked["file"], uri=True) as held:
        held.execute("SELECT 1 FROM sqlite_master").fetchone()  # it is opened by now, with its log
        path = _confined(asked, asked["directory"], asked["name"])
        signal.alarm(_CHECKING_S)
        if held.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise _Damaged("it is damaged")
        with _opened(path) as taken:
            _copy(held, taken, asked["patience_s"])
    return {}


def _verify(asked: dict[str, Any]) -> dict[str, Any]:
    with _opened(asked["file"], uri=True) as held:
        held.execute("SELECT 1 FROM sqlite_master").fetchone()
        scratch, name = os.path.split(asked["restored"])
        if asked["group"]:
            os.chown(scratch, asked["group"], asked["group"])
            os.chown(asked["restored"], asked["group"], asked["group"])
        return _checked(held, _confined(asked, scratch, name), asked["patience_s"])


def _checked(held: sqlite3.Connection, restored: str, patience_s: int) -> dict[str, Any]:
    with _opened(restored) as taken:
        _copy(held, taken, patience_s)
        signal.alarm(_CHECKING_S)
        problem = taken.execute("PRAGMA integrity_check(1)").fetchone()
        if problem != ("ok",):
            raise _Damaged(f"it is damaged: {problem[0]}")
        found = taken.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
            " AND sql NOT LIKE 'CREATE VIRTUAL%'"
        ).fetchall()
        quoted = (str(name).replace('"', '""') for (name,) in found)
        rows = sum(taken.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in quoted)  # noqa: S608
    return {"tables": len(found), "rows": rows}


def _without_files(taken: sqlite3.Connection) -> None:
    """Open a new file for good, which needs no journal beside it: a copy that is cut short is thrown away."""
    taken.execute("PRAGMA journal_mode=MEMORY")
    taken.execute("SELECT 1 FROM sqlite_master").fetchone()


_OPERATIONS = {"make": _make, "back up": _back_up, "restore": _restore, "verify": _verify}


def main() -> int:
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    asked = json.load(sys.stdin)
    signal.alarm(asked["patience_s"])
    try:
        answer = _OPERATIONS[asked["do"]](asked)
    except (OSError, sqlite3.Error, MemoryError, _Damaged) as error:
        answer = {"error": str(error) or type(error).__name__}
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
