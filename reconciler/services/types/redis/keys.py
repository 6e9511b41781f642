"""A service's keys on a Redis server: found, removed, written to a file and read from one.

The file is lines of JSON: `{"format": "reconciler-redis", "version": 1}`, then for each key `db`, `key` without the
service's prefix and `value` as DUMP gives it, both in base64, and `until`, the millisecond since 1970 at which it ends,
or null; at last `{"keys": N}`, without which the file is not whole. Keys are read one after another, not at one moment.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from reconciler.services.provisioner import Misconfigured
from reconciler.services.server_tools import readable
from reconciler.services.types.redis.session import Session

Inside: TypeAlias = Callable[[int], AbstractAsyncContextManager[Session]]  # a session in the database of that number

_SCAN_COUNT = 1000
_TRIED_MS = 60_000
_FORMAT = {"format": "reconciler-redis", "version": 1}


async def databases(session: Session) -> tuple[int, ...]:
    """Return the numbers of the databases that hold keys."""
    return tuple(sorted(int(name[2:]) for name in await session.do("INFO", "keyspace") if name.startswith("db")))


async def keys(session: Session, prefix: str) -> AsyncIterator[list[bytes]]:
    """Yield names of keys in batches; a name may come twice."""
    cursor = 0
    while True:
        cursor, found = await session.do("SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", _SCAN_COUNT)
        if found:
            yield found
        if int(cursor) == 0:
            return


async def remove(session: Session, prefix: str) -> None:
    async for found in keys(session, prefix):
        await session.do("UNLINK", *found)


async def write(session: Session, database: int, prefix: str, file: BinaryIO) -> int:
    """Write each key once, and return how many there are."""
    written: set[bytes] = set()
    async for found in keys(session, prefix):
        for key in found:
            value = await session.do("DUMP", key)
            if value is None or key in written:
                continue
            written.add(key)
            left_ms = int(await session.do("PTTL", key))
            now_s, now_us = (int(part) for part in await session.do("TIME"))
            _write_line(
                file,
                {
                    "db": database,
                    "key": b64encode(key[len(prefix) :]).decode(),
                    "value": b64encode(value).decode(),
                    "until": None if left_ms < 0 else now_s * 1000 + now_us // 1000 + left_ms,
                },
            )
    return len(written)


def begin(file: BinaryIO) -> None:
    _write_line(file, _FORMAT)


def end(file: BinaryIO, count: int) -> None:
    _write_line(file, {"keys": count})


def check(file: Path) -> None:
    """Check that a file is a complete dump. Raises Misconfigured."""
    try:
        with readable(file) as dump:
            first = json.loads(next(dump, b"null"))
            count, last = -1, None
            for line in dump:
                count, last = count + 1, json.loads(line)
    except (ValueError, UnicodeError):
        first = last = count = None
    if first != _FORMAT or last != {"keys": count}:
        raise Misconfigured(f"{file.name} is not a complete dump of a redis service")


async def read(inside: Inside, prefix: str, file: Path, database: int | None) -> None:
    """Restore every key of a checked dump, into one database or into those they came from."""
    with readable(file) as dump:
        entries = (entry for line in dump if "value" in (entry := json.loads(line)))
        for number, group in groupby(entries, key=lambda entry: int(entry["db"])):
            async with inside(number if database is None else database) as session:
                for entry in group:
                    await _restore(session, prefix, entry)


async def try_each(session: Session, name: str, file: Path) -> int:
    """Restore each key of a checked dump under this name, one after another; return how many there are."""
    count = 0
    with readable(file) as dump:
        for line in dump:
            if "value" in (entry := json.loads(line)):
                await session.do("RESTORE", name, _TRIED_MS, b64decode(entry["value"]), "REPLACE")
                count += 1
    await session.do("UNLINK", name)
    return count


async def _restore(session: Session, prefix: str, entry: dict[str, Any]) -> None:
    key = prefix.encode() + b64decode(entry["key"])
    until = ("0",) if entry["until"] is None else (str(entry["until"]),)
    absolute = () if entry["until"] is None else ("ABSTTL",)
    await session.do("RESTORE", key, *until, b64decode(entry["value"]), "REPLACE", *absolute)


def _write_line(file: BinaryIO, entry: dict[str, Any]) -> None:
    file.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
