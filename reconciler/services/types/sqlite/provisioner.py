"""A database in a file of the service's own directory: nothing to install, nothing to run.

Every bound app opens the same file, which needs no password.
"""

import asyncio
import contextlib
import os
import shutil
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from reconciler.linux.error_words import in_words
from reconciler.linux.regular_files import read_own
from reconciler.linux.remove_tree import remove_tree
from reconciler.planning.fingerprint import Json
from reconciler.services.provisioner import Client, Credentials, Grant, ServiceError, ServiceSpec
from reconciler.services.server_tools import new
from reconciler.services.types.sqlite import shell
from reconciler.services.types.sqlite.apart import apart

# https://www.sqlite.org/fileformat2.html: the header, its first bytes, and the formats to write and to read by.
_HEADER, _MAGIC = 100, b"SQLite format 3\0"
_FORMATS, _WITH_LOG = slice(18, 20), b"\2\2"


class Sqlite:
    """The kind `sqlite`."""

    async def provision(self, service: ServiceSpec) -> None:
        """Make an empty database, or leave the one that is there."""
        await _made(service)

    async def bind(self, service: ServiceSpec, grant: Grant) -> Credentials:  # noqa: ARG002  a file has no users
        """Return the path of the file, which is created again if it was removed."""
        await _made(service)
        return _credentials(service)

    async def verify(self, service: ServiceSpec, grant: Grant, credentials: Credentials) -> str | None:  # noqa: ARG002
        """Look whether the file is there, and begins as a database does."""
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
        sizes = []
        for place in _files(service):
            with contextlib.suppress(FileNotFoundError):
                sizes.append(place.lstat().st_size)
        return sum(sizes) if sizes else None

    async def back_up(self, service: ServiceSpec, file: Path) -> None:
        """Copy the database while apps keep writing."""
        _require_regular(_file(service))
        new(file).close()  # SQLite would create a file that others can read
        await apart(_file(service), "back up", f"cannot back up {service.name}", file=str(file))

    async def restore(self, service: ServiceSpec, file: Path) -> None:
        """Write the content of another database over this one, in one transaction, which open connections see."""
        _require_regular(_file(service))
        await apart(_file(service), "restore", f"cannot restore {service.name} from {file}", file=_unchanging(file))

    async def verify_backup(self, service: ServiceSpec, file: Path, scratch: Path) -> Mapping[str, int]:
        """Restore into a file of its own, check all of it, and count."""
        restored = scratch / "restored.sqlite3"
        new(restored).close()
        what = f"cannot restore {service.name} from {file}"
        return await apart(_file(service), "verify", what, file=_unchanging(file), restored=str(restored))

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


async def _made(service: ServiceSpec) -> None:
    """Make sure that there is a database with a write-ahead log."""
    file = _file(service)
    if not await asyncio.to_thread(_has_log, service.directory, file):
        await apart(file, "make", f"cannot make the database {file}")


def _has_log(directory: Path, file: Path) -> bool:
    """Make sure that there is a file; tell whether it is a database with a write-ahead log. Raises ServiceError."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create_private(file)
        _require_regular(file)
        return read_own(file, _HEADER)[_FORMATS] == _WITH_LOG
    except OSError as error:
        raise ServiceError(f"cannot make the database {file}: {in_words(error)}") from error


def _wrong(file: Path) -> str | None:
    try:
        _require_regular(file)
        header = read_own(file, _HEADER)
    except FileNotFoundError:
        return f"{file} is gone"
    except OSError as error:
        raise ServiceError(f"cannot open {file}: {in_words(error)}") from error
    if header and (len(header) < _HEADER or not header.startswith(_MAGIC)):
        raise ServiceError(f"{file} is damaged: it does not begin as a database does; restore it from a backup")
    return None


def _require_regular(file: Path) -> None:
    """Raise ServiceError if an app has put something else in the place of a database, or of a file that belongs to it.

    SQLite would wait for a named pipe for as long as it is let.
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


def _create_private(file: Path) -> None:
    """Make sure that a file exists that only its owner can read, before SQLite creates one that others can read, too.

    SQLite gives the files beside a database the database's own mode.
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
