"""An archive in (.zip, .whl, .tar.gz, .tgz, .tar.xz, .tar.bz2, .tar); its content in a directory out, or a refusal.

Nothing in an archive is trusted: paths that lead out of the directory, links that point out of it, devices, and content
that swells beyond any sensible size are refused, before a file is written outside of the given directory.
"""

import errno
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Self

from reconciler.staging.errors import SourceError

_ZIPS = (".zip", ".whl", ".bundle")
_MOST_BYTES = 4 << 30
_MOST_MEMBERS = 200_000
# What honest content compresses to: text a tenth, sparse data a hundredth. Small archives may be odder.
_MOST_SWELLING = 200
_SWELLING_FROM = 64 << 20
_CHUNK = 1 << 20
# No path on Linux is longer, and Python reads such a header into memory as a whole.
_LONGEST_PATH = 4095
_LARGEST_HEADER = 1 << 20
_MOST_LINKS_FOLLOWED = 40  # the kernel's own limit: path_resolution(7)
_BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError),
    # Of zipfile and tarfile: names that are not in their encoding, unknown compression, lengths beyond any.
    *(ValueError, RuntimeError, OverflowError),
)
# What the kernel says of names and places that only this archive asks for.
_OF_ITS_NAMES = frozenset((errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP))


def unpack(archive: Path, directory: Path, go_on: Callable[[], bool] = lambda: True) -> None:
    """Unpack into `directory`, which is made; SourceError when the archive is broken or is not safe.

    `go_on` is asked between members: once it says no, InterruptedError is raised.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _walk(archive, _Writing(archive, directory), go_on)


def check(archive: Path) -> None:
    """Read all of the archive and write nothing; SourceError when it could not be unpacked."""
    _walk(archive, _Checking(archive), lambda: True)


def top(directory: Path) -> Path:
    """Where the content is: the only directory in `directory` when there is nothing beside it, as in a tarball."""
    entries = list(directory.iterdir())
    if len(entries) == 1 and entries[0].is_dir() and not entries[0].is_symlink():
        return entries[0]
    return directory


class _Checking:
    """Takes members as they come and refuses those that are not safe."""

    def __init__(self, archive: Path) -> None:
        self._allowed = _MOST_BYTES
        self._swelling = max(_SWELLING_FROM, archive.stat().st_size * _MOST_SWELLING)
        self._members = 0
        self._bytes = 0
        self._links: dict[str, str] = {}

    def path(self, name: str) -> str:
        """The member's path, relative and safe."""
        self._members += 1
        if self._members > _MOST_MEMBERS:
            raise SourceError(f"it holds more than {_MOST_MEMBERS} files")
        if not name:
            raise SourceError("it holds something without a name")
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\0" in name or "\\" in name:
            raise SourceError(f"it holds {name!r}, which leads out of the directory it is unpacked into")
        through = next((str(parent) for parent in pure.parents if str(parent) in self._links), None)
        if through is not None:
            raise SourceError(f"it holds {name!r}, which leads through the link {through!r}")
        return str(pure)

    def directory(self, path: str) -> None:
        """A directory."""

    def file(self, path: str, mode: int, content: IO[bytes]) -> None:  # noqa: ARG002 -- they are for writing
        """A file; its content is read to the end."""
        while chunk := content.read(_CHUNK):
            self._count(chunk)

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        if not target or "\0" in target or len(os.fsencode(target)) > _LONGEST_PATH:
            raise SourceError(f"it holds {path!r}, a link to nothing that could be")
        if target.startswith("/"):
            raise _points_out(path, target)
        self._links[path] = target

    def reach(self, position: int) -> None:
        """Note how far into the unpacked archive this is: headers swell as well."""
        self._bytes = max(self._bytes, position - _CHUNK)
        self._count(b"")

    def end(self) -> None:
        """Every member came: see where the links lead, as one may go through another that came after it."""
        for path, target in self._links.items():
            if _leads_out(path, self._links):
                raise _points_out(path, target)

    def _count(self, chunk: bytes) -> None:
        self._bytes += len(chunk)
        if self._bytes > self._allowed:
            raise SourceError(f"it holds more than {_MOST_BYTES >> 30} GB")
        if self._bytes > self._swelling:
            raise SourceError(f"its content is more than {_MOST_SWELLING} times its size")


class _Writing(_Checking):
    """The same, and writes them."""

    def __init__(self, archive: Path, directory: Path) -> None:
        super().__init__(archive)
        self._root = directory

    def directory(self, path: str) -> None:
        self._place(path).mkdir(parents=True, exist_ok=True)

    def file(self, path: str, mode: int, content: IO[bytes]) -> None:
        place = self._place(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        # O_EXCL, O_NOFOLLOW: a second member of the name cannot write through a link that the first one was.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(place, flags, (mode & 0o777) | 0o600), "wb") as writing:
            while chunk := content.read(_CHUNK):
                self._count(chunk)
                writing.write(chunk)

    def link(self, path: str, target: str) -> None:
        super().link(path, target)
        place = self._place(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)

    def _place(self, path: str) -> Path:
        """Where a member goes; a link that an earlier member was is never followed out."""
        place = self._root / path
        if not Path(os.path.realpath(place.parent)).is_relative_to(os.path.realpath(self._root)):
            raise SourceError(f"it holds {path!r}, which leads out through a link")
        return place


def _walk(archive: Path, taking: _Checking, go_on: Callable[[], bool]) -> None:
    with _reading(archive):
        for _ in _members(archive, taking):
            if not go_on():
                raise InterruptedError("the copy was given up")
        taking.end()


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    try:
        yield
    except (InterruptedError, SourceError):
        raise
    except _BROKEN as error:
        if isinstance(error, FileExistsError):
            raise SourceError(f"it holds {Path(str(error.filename)).name!r} twice") from error
        if isinstance(error, OSError) and error.errno in _OF_ITS_NAMES:
            name = Path(os.fsdecode(error.filename or "")).name[:80]
            raise SourceError(f"it holds {name!r}, which cannot be here: {error.strerror}") from error
        if isinstance(error, OSError) and error.errno not in {None, errno.EINVAL}:
            raise
        reason = str(error) or type(error).__name__
        raise SourceError(f"{archive.name} cannot be opened ({reason}); is it still being copied?") from error


def _members(archive: Path, taking: _Checking) -> Iterator[None]:
    return _of_zip(archive, taking) if archive.name.endswith(_ZIPS) else _of_tar(archive, taking)


def _of_zip(archive: Path, taking: _Checking) -> Iterator[None]:
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            path, mode = taking.path(member.filename), member.external_attr >> 16
            if member.flag_bits & 0x1:
                raise SourceError(f"it holds {path!r}, which is encrypted")
            if member.is_dir():
                taking.directory(path)
            elif stat.S_ISLNK(mode):
                with zipped.open(member) as content:
                    target = content.read(_LONGEST_PATH + 1)
                taking.link(path, target.decode("utf-8", "surrogateescape"))
            elif stat.S_IFMT(mode) in {0, stat.S_IFREG}:
                with zipped.open(member) as content:
                    taking.file(path, mode or 0o644, content)
            else:
                raise SourceError(f"it holds {path!r}, which is no file, directory or link")
            yield


def _of_tar(archive: Path, taking: _Checking) -> Iterator[None]:
    with tarfile.open(archive, "r|*", tarinfo=_Header) as tarred:
        empty = True
        while (member := tarred.next()) is not None:
            empty = False
            tarred.members.clear()  # type: ignore[attr-defined]  # or all of their headers would be kept
            taking.reach(member.offset_data)
            path = taking.path(member.name)
            if member.isdir():
                taking.directory(path)
            elif member.issym():
                taking.link(path, member.linkname)
            elif member.isreg():
                content = tarred.extractfile(member)
                assert content is not None
                taking.file(path, member.mode, content)
            elif member.islnk():
                raise SourceError(f"it holds {path!r}, a hard link: pack it with --hard-dereference")
            else:
                raise SourceError(f"it holds {path!r}, which is no file, directory or link")
            yield
        if empty:
            raise SourceError(f"{archive.name} holds nothing")


class _Header(tarfile.TarInfo):
    """A header that is not read into memory when it is larger than any honest one."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _LONG_HEADERS and header.size > _LARGEST_HEADER):
            raise SourceError(f"it holds a header of {header.size} bytes")
        return header


_LONG_HEADERS = frozenset(
    (
        *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
        *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    )
)


def _points_out(path: str, target: str) -> SourceError:
    return SourceError(f"it holds {path!r}, a link to {target!r}, outside of what is unpacked")


def _leads_out(path: str, links: Mapping[str, str]) -> bool:
    """Whether following `path` through these links leaves the directory they are in, at any step."""
    followed = 0
    here: list[str] = []
    ahead = [*reversed(PurePosixPath(path).parts)]
    while ahead:
        part = ahead.pop()
        if part != "..":
            here.append(part)
        elif here:
            here.pop()
        else:
            return True
        target = links.get("/".join(here)) if part != ".." else None
        if target is not None:
            followed += 1
            if followed > _MOST_LINKS_FOLLOWED:
                return False  # it leads nowhere: nobody can open it
            here.pop()
            ahead += reversed(PurePosixPath(target).parts)
    return False
