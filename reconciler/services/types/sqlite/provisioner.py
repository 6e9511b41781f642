"""A database in a file of the service's own directory: nothing to install, nothing to run.

Every bound app opens the same file, which needs no password.
"""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import stat
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from reconciler.linux.remove_tree import remove_tree
from reconciler.planning.fingerprint import Json
from reconciler.services.provisioner import Client, Credentials, Grant, ServiceError, ServiceSpec
from reconciler.services.server_tools import new
from reconciler.services.types.sqlite import shell

_PATIENCE_S = 30.0
_PAGES_AT_ONCE = 1024


class Sqlite:
    """The kind `sqlite`."""

    async def provision(self, service: ServiceSpec) -> None:
        """Make an empty database, or leave the one that is there."""
        await asyncio.to_thread(_made, service)

    async def bind(self, service: ServiceSpec, grant: Grant) -> Credentials:  # noqa: ARG002  a file has no users
        """Return the path of the file, which is created again if it was removed."""
        await asyncio.to_thread(_made, service)
        return _credentials(service)

    async def verify(self, service: ServiceSpec, grant: Grant, credentials: Credentials) -> str | None:  # noqa: ARG002
        """Open it as the app would, and read its first page."""
        if dict(credentials) != _credentials(service):
            return "the state directory has moved since"
        return await asyncio.to_thread(_wrong, _file(service))

    async def unbind(self, service: ServiceSpec, grant: Grant) -> None:
        """Do nothing: there are no credentials to revoke."""

    async def deprovision(self, service: ServiceSpec) -> None:
        """Remove the file with all that lies beside it."""
        await asyncio.to_thread(remove_tree, service.directory)
        if service.directory.exists():
            raise ServiceError(f"cannot remove {service.directory} with all that is in it")

    async def size_bytes(self, service: ServiceSpec) -> int | None:
        """Return the size of the database and its log."""
        sizes = [place.stat().st_size for place in _files(service) if place.exists()]
        return sum(sizes) if sizes else None

    async def back_up(self, service: ServiceSpec, file: Path) -> None:
        """Copy the database while apps keep writing."""
        _require_regular(_file(service))
        new(file).close()  # SQLite would create a file that others can read
        await _copy(f"{_file(service).as_uri()}?mode=ro", file, f"cannot back up {service.name}")

    async def restore(self, service: ServiceSpec, file: Path) -> None:
        """Write the content of another database over this one, in one transaction, which open connections see."""
        await asyncio.to_thread(_checked, file)
        _require_regular(_file(service))
        await _copy(_unchanging(file), _file(service), f"cannot restore {service.name}")

    async def verify_backup(self, service: ServiceSpec, file: Path, scratch: Path) -> Mapping[str, int]:
        """Restore into a file of its own, check all of it, and count."""
        restored = scratch / "restored.sqlite3"
        new(restored).close()
        await _copy(_unchanging(file), restored, f"cannot restore {service.name} from {file}")
        return await asyncio.to_thread(_counted, restored, file)

    async def remove_scratch(self, service: ServiceSpec) -> None:
        """Do nothing: the file was in the directory that is removed."""

    def client(self, service: ServiceSpec, credentials: Credentials) -> Client:  # noqa: ARG002  the path says it all
        """sqlite3 where it is installed, else a small one of our own."""
        found = shutil.which("sqlite3")
        # Isolated, and by its path: nothing of the current directory or the operator's variables is imported.
        argv = (found,) if found else (sys.executable, "-I", shell.__file__)
        return Client(argv=(*argv, str(_file(service))), environment={})


def _file(service: ServiceSpec) -> Path:
    return service.directory / f"{service.name}.sqlite3"


def _files(service: ServiceSpec) -> tuple[Path, Path]:
    file = _file(service)
    return file, file.with_name(f"{file.name}-wal")


def _credentials(service: ServiceSpec) -> dict[str, Json]:
    path = str(_file(service))
    return {"name": service.name, "path": path, "filename": path, "uri": f"sqlite:///{quote(path)}"}


def _made(service: ServiceSpec) -> None:
    file = _file(service)
    try:
        service.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create_private(file)
        _require_regular(file)
        with contextlib.closing(sqlite3.connect(file, timeout=_PATIENCE_S)) as database:
            # Readers and a writer at once; it is kept in the file, so that it is made here for every app.
            if database.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                database.execute("PRAGMA journal_mode=WAL")
    except (OSError, sqlite3.Error) as error:
        raise ServiceError(f"cannot make the database {file}: {error}") from error


def _wrong(file: Path) -> str | None:
    if not file.exists():
        return f"{file} is gone"
    _require_regular(file)
    try:
        with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=5)) as database:
            database.execute("PRAGMA schema_version").fetchone()
    except sqlite3.OperationalError as error:
        raise ServiceError(f"cannot open {file}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise ServiceError(f"{file} is damaged: {error}; restore it from a backup") from error
    return None


def _require_regular(file: Path) -> None:
    """Raise ServiceError if an app has put something else in the place of a database, or of a file that belongs to it.

    A thread that opens a named pipe waits for ever, and each thread of this process is needed.
    """
    for ending in ("", "-journal", "-wal", "-shm"):
        place = file.with_name(f"{file.name}{ending}")
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(place.lstat().st_mode):
                raise ServiceError(f"{place} is no regular file: remove it")


def _unchanging(file: Path) -> str:
    """Return the URI of a backup, beside which SQLite then creates no files."""
    log = file.with_name(f"{file.name}-wal")
    # Of a copy with a log beside it, what the log holds counts.
    has_log = log.exists() and log.stat().st_size > 0
    return f"{file.as_uri()}?mode=ro" if has_log else f"{file.as_uri()}?mode=ro&immutable=1"


def _checked(file: Path) -> None:
    try:
        with contextlib.closing(sqlite3.connect(_unchanging(file), uri=True, timeout=5)) as database:
            found = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise ServiceError(f"cannot restore from {file}: {error}") from error
    if found != ("ok",):
        raise ServiceError(f"cannot restore from {file}: it is damaged")


def _counted(restored: Path, file: Path) -> dict[str, int]:
    """Check a restored database as a whole; return the number of its tables and of their rows."""
    try:
        with contextlib.closing(sqlite3.connect(restored)) as database:
            problem = database.execute("PRAGMA integrity_check(1)").fetchone()
            if problem != ("ok",):
                raise ServiceError(f"{file} is damaged: {problem[0]}")
            found = database.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
                " AND sql NOT LIKE 'CREATE VIRTUAL%'"
            ).fetchall()
            quoted = (str(name).replace('"', '""') for (name,) in found)
            rows = sum(database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in quoted)  # noqa: S608
    except sqlite3.Error as error:
        raise ServiceError(f"cannot restore from {file}: {error}") from error
    return {"tables": len(found), "rows": rows}


async def _copy(source: str, target: Path, what: str) -> None:
    """Copy the database at a URI in a thread, which ends soon after a cancellation."""
    cancelled = threading.Event()
    try:
        await asyncio.to_thread(_copied, source, target, what, cancelled)
    except asyncio.CancelledError:
        cancelled.set()
        raise


class _Cancelled(Exception):
    """Nothing waits for the copy any more."""


def _copied(source: str, target: Path, what: str, cancelled: threading.Event) -> None:
    def go_on(*_: int) -> None:
        if cancelled.is_set():
            raise _Cancelled

    try:
        with (
            contextlib.closing(sqlite3.connect(source, uri=True, timeout=_PATIENCE_S)) as held,
            contextlib.closing(sqlite3.connect(target, timeout=_PATIENCE_S)) as taken,
        ):
            taken.execute("PRAGMA synchronous=FULL")
            # Within one transaction: otherwise each write of an app would have the copy begin again.
            held.execute("BEGIN")
            held.execute("SELECT 1 FROM sqlite_master").fetchone()
            held.backup(taken, pages=_PAGES_AT_ONCE, progress=go_on)
    except _Cancelled:
        return
    except (OSError, sqlite3.Error) as error:
        raise ServiceError(f"{what}: {error}") from error


def _create_private(file: Path) -> None:
    """Make sure that a file exists that only its owner can read, before SQLite creates one that others can read, too.

    SQLite gives the files beside a database the database's own mode. An existing one is not opened here: closing it
    would release this process's locks on it.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    # Apps with users of their own share it by a group, and so its directory: one of them may have put a link there.
    shared = file.parent.stat().st_mode & stat.S_ISGID
    found = os.open(file, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if stat.S_ISREG(os.fstat(found).st_mode):
            os.chmod(f"/proc/self/fd/{found}", 0o660 if shared else 0o600)  # noqa: PTH101  whatever is at the path by now
    finally:
        os.close(found)
