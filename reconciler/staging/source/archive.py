"""Unpack an archive (.zip, .whl, .tar.gz, .tgz, .tar.xz, .tar.bz2, .tar) into a directory, or refuse it.

Nothing in an archive is trusted: paths and links that leave the directory, devices, and content that expands beyond any
sensible size are refused before a file is written outside the directory.
"""

import bz2
import errno
import gzip
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Self

from reconciler.linux.error_words import in_words
from reconciler.staging.errors import SourceError
from reconciler.staging.source import allowance
from reconciler.staging.source.tree import refuse_sparse
from reconciler.staging.source.zip_files import MAX_MEMBERS, opened_zip

_ZIPS = (".zip", ".whl", ".bundle")
_MAX_BYTES = 4 << 30
# Regular content compresses to a tenth (text) or a hundredth (sparse data). Small archives may exceed that.
_MAX_EXPANSION = 200
_EXPANSION_CHECKED_FROM = 64 << 20
_CHUNK = 1 << 20
_WINDOWS = frozenset((0, 10, 14))  # FAT, NTFS and VFAT: APPNOTE.TXT, 4.4.2.2
# No path on Linux is longer, and Python reads a whole header into memory.
_MAX_PATH_BYTES = 4095
_MAX_HEADER_BYTES = 1 << 20
_MOST_OF_LINKS = 16 << 20  # which are in memory until the last member was seen
_MAX_LINKS_FOLLOWED = 40  # the kernel's own limit: path_resolution(7)
_MOST_REMEMBERED = 64
# The other methods have no bound in zipfile: a small part of a member may become gigabytes in memory at once.
_BOUNDED_IN_ZIPS = frozenset((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
_COMPRESSIONS: Mapping[bytes, str] = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\0": "xz", b"]\0\0": "xz"}
_LONGEST_MARK = 6
_BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError),
    # From zipfile and tarfile: names with a wrong encoding, unknown compression, impossible lengths.
    *(ValueError, RuntimeError, OverflowError),
)
# Errors of the kernel that only a name in this archive can cause.
_NAME_ERRORS = frozenset((errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP))


def unpack(archive: Path, directory: Path) -> None:
    """Unpack into `directory`, which is created; raises SourceError if the archive is broken or not safe."""
    directory.mkdir(parents=True, exist_ok=True)
    _walk(archive, _Extractor(archive, directory))


def check(archive: Path) -> None:
    """Read all of the archive and write nothing; raises SourceError if it cannot be unpacked."""
    _walk(archive, _Checker(archive))


def check_once(archive: Path) -> None:
    """Check an archive, unless it is one of the last that were found good and has not changed since."""
    before = _stamp(archive)
    if before in _good:
        return
    check(archive)
    if _stamp(archive) == before:
        for oldest in list(_good)[: max(0, len(_good) + 1 - _MOST_REMEMBERED)]:
            _good.pop(oldest, None)
        _good[before] = None


_good: dict[tuple[object, ...], None] = {}


def _stamp(archive: Path) -> tuple[object, ...]:
    facts = archive.stat()
    return archive.name, facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def refuse_unfit(archive: Path) -> None:
    """Raise SourceError for an archive that is too large to be read at all, and OSError."""
    refuse_sparse(archive)
    if archive.stat().st_size > _MAX_BYTES:
        raise SourceError(f"it is larger than {_MAX_BYTES >> 30} GB")


def content_root(directory: Path) -> Path:
    """Return the only directory in `directory` if there is nothing beside it, as in a tarball, else `directory`."""
    entries = list(directory.iterdir())
    if len(entries) == 1 and entries[0].is_dir() and not entries[0].is_symlink():
        return entries[0]
    return directory


class _Checker:
    """Checks the members of an archive in their order, and refuses those that are not safe."""

    def __init__(self, archive: Path) -> None:
        self._name = archive.name
        self._allowed = _MAX_BYTES
        self._expanded_limit = max(_EXPANSION_CHECKED_FROM, archive.stat().st_size * _MAX_EXPANSION)
        self._members = 0
        self._bytes = 0
        self._links: dict[str, str] = {}
        self._of_links = 0

    def path(self, name: str) -> str:
        """Return the member's path, relative and safe."""
        allowance.check(self._name)
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise SourceError(f"it contains more than {MAX_MEMBERS} files")
        if not name:
            raise SourceError("it contains a file without a name")
        pure = PurePosixPath(name)
        if "\\" in name:
            raise SourceError(f"it contains {name!r}, a name with a backslash")
        if pure.is_absolute() or ".." in pure.parts or "\0" in name:
            raise SourceError(f"it contains {name!r}, which is outside the directory it is unpacked into")
        through = next((str(parent) for parent in pure.parents if str(parent) in self._links), None)
        if through is not None:
            raise SourceError(f"it contains {name!r}, which leads through the link {through!r}")
        return str(pure)

    def directory(self, path: str) -> None:
        """Take a directory."""

    def file(self, path: str, mode: int, content: IO[bytes]) -> None:  # noqa: ARG002 -- used by the extractor
        """Take a file; its content is read to the end."""
        while chunk := content.read(_CHUNK):
            self._count(chunk)

    def link(self, path: str, target: str) -> None:
        """Take a symbolic link."""
        if not target or "\0" in target or len(os.fsencode(target)) > _MAX_PATH_BYTES:
            raise SourceError(f"it contains {path!r}, a link to an impossible path")
        if target.startswith("/"):
            raise _outside(path, target)
        self._links[path] = target
        self._of_links += len(path) + len(target)
        if self._of_links > _MOST_OF_LINKS:
            raise SourceError(f"it contains links of more than {_MOST_OF_LINKS >> 20} MiB")

    def advance(self, position: int) -> None:
        """Count the bytes up to this position of the unpacked archive: headers can expand as well."""
        self._bytes = max(self._bytes, position - _CHUNK)
        self._count(b"")

    def end(self) -> None:
        """Check all links after the last member: one may lead through another that followed it."""
        for path, target in self._links.items():
            if _leaves(path, self._links):
                raise _outside(path, target)

    def _count(self, chunk: bytes) -> None:
        allowance.check(self._name)
        self._bytes += len(chunk)
        if self._bytes > self._allowed:
            raise SourceError(f"it contains more than {_MAX_BYTES >> 30} GB")
        if self._bytes > self._expanded_limit:
            raise SourceError(f"its content is more than {_MAX_EXPANSION} times its size")


class _Extractor(_Checker):
    """Checks the members, and writes them."""

    def __init__(self, archive: Path, directory: Path) -> None:
        super().__init__(archive)
        self._root = directory

    def directory(self, path: str) -> None:
        self._destination(path).mkdir(parents=True, exist_ok=True)

    def file(self, path: str, mode: int, content: IO[bytes]) -> None:
        file_path = self._destination(path)
        file_path.parent.mkdir(parents=True, exist_ok=True)
        # O_EXCL, O_NOFOLLOW: a second member of the name cannot write through a link that the first one was.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(file_path, flags, (mode & 0o777) | 0o600), "wb") as writing:
            while chunk := content.read(_CHUNK):
                self._count(chunk)
                writing.write(chunk)

    def link(self, path: str, target: str) -> None:
        super().link(path, target)
        file_path = self._destination(path)
        file_path.parent.mkdir(parents=True, exist_ok=True)
        file_path.symlink_to(target)

    def _destination(self, path: str) -> Path:
        """Return the path to write a member to; links of earlier members are never followed outside."""
        file_path = self._root / path
        if file_path == self._root:  # `tar -cf app.tar .` begins with the directory itself
            return file_path
        if not Path(os.path.realpath(file_path.parent)).is_relative_to(os.path.realpath(self._root)):
            raise SourceError(f"it contains {path!r}, which leads outside through a link")
        return file_path


def _walk(archive: Path, checker: _Checker) -> None:
    with _error_context():
        for _ in _members(archive, checker):
            pass
        checker.end()


@contextmanager
def _error_context() -> Iterator[None]:
    try:
        yield
    except SourceError:
        raise
    except _BROKEN as error:
        if isinstance(error, FileExistsError):
            raise SourceError(f"it contains {Path(str(error.filename)).name!r} twice") from error
        if isinstance(error, OSError) and error.errno in _NAME_ERRORS:
            name = Path(os.fsdecode(error.filename or "")).name[:80]
            raise SourceError(f"it contains {name!r}, which cannot be created: {in_words(error)}") from error
        if isinstance(error, OSError) and error.errno not in {None, errno.EINVAL}:
            raise
        reason = str(error) or type(error).__name__
        raise SourceError(f"it cannot be opened ({reason}); is it still being copied?") from error


def _members(archive: Path, checker: _Checker) -> Iterator[None]:
    return _of_zip(archive, checker) if archive.name.endswith(_ZIPS) else _of_tar(archive, checker)


def _of_zip(archive: Path, checker: _Checker) -> Iterator[None]:
    with opened_zip(archive) as zipped:
        for member in zipped.infolist():
            # Programs of Windows write its own separator, which no name there can contain.
            name = member.filename.replace("\\", "/") if member.create_system in _WINDOWS else member.filename
            path, mode = checker.path(name), member.external_attr >> 16
            if _only_for_macs(path):
                continue
            if member.flag_bits & 0x1:
                raise SourceError(f"it contains {path!r}, which is encrypted")
            if name.endswith("/"):
                checker.directory(path)
            elif member.compress_type not in _BOUNDED_IN_ZIPS:
                how = zipfile.compressor_names.get(member.compress_type, "an unknown method")  # type: ignore[attr-defined]
                raise SourceError(f"it contains {path!r}, compressed by {how}: create it with deflate, as zip does")
            elif stat.S_ISLNK(mode):
                with zipped.open(member) as content:
                    target = content.read(_MAX_PATH_BYTES + 1)
                checker.link(path, target.decode("utf-8", "surrogateescape"))
            elif stat.S_IFMT(mode) in {0, stat.S_IFREG}:
                with zipped.open(member) as content:
                    checker.file(path, mode or 0o644, content)
            else:
                raise SourceError(f"it contains {path!r}, which is not a file, directory or link")
            yield


def _of_tar(archive: Path, checker: _Checker) -> Iterator[None]:
    class Header(BoundedHeader):
        """The headers of this archive, up to the empty one at its end."""

    with _decompressed(archive) as content_of_all, tarfile.open(None, "r|", content_of_all, tarinfo=Header) as tarred:
        empty = True
        while (member := tarred.next()) is not None:
            empty = False
            tarred.members.clear()  # type: ignore[attr-defined]  # or all headers would stay in memory
            checker.advance(member.offset_data)
            path = checker.path(member.name)
            if _only_for_macs(path):
                continue
            if member.isdir():
                checker.directory(path)
            elif member.issym():
                checker.link(path, member.linkname)
            elif member.isreg():
                content = tarred.extractfile(member)
                assert content is not None
                checker.file(path, member.mode, content)
            elif member.islnk():
                raise SourceError(f"it contains {path!r}, a hard link: create the archive with --hard-dereference")
            else:
                raise SourceError(f"it contains {path!r}, which is not a file, directory or link")
            yield
        if empty:
            raise SourceError("it is empty")
        if not Header.ended:
            raise tarfile.ReadError("its end is missing")


def _decompressed(archive: Path) -> IO[bytes] | gzip.GzipFile:
    """Open a tar file with what compresses it undone, a bounded part at each read; tarfile's own way has no bound."""
    with archive.open("rb") as file:
        begins = file.read(_LONGEST_MARK)
    match next((kind for mark, kind in _COMPRESSIONS.items() if begins.startswith(mark)), ""):
        case "gz":
            return gzip.open(archive)
        case "bz2":
            return bz2.open(archive)
        case "xz":
            return lzma.open(archive)
        case _:
            return archive.open("rb")


class BoundedHeader(tarfile.TarInfo):
    """A header that is refused before it is read into memory if it is larger than any regular one."""

    ended = False

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        cls.ended = cls.ended or buf.count(0) == tarfile.BLOCKSIZE
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _LONG_HEADERS and header.size > _MAX_HEADER_BYTES):
            raise SourceError(f"it contains a header of {header.size} bytes")
        return header


_LONG_HEADERS = frozenset(
    (
        *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
        *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    )
)


def _only_for_macs(path: str) -> bool:
    """Tell whether a member is what the Finder of a Mac adds: beside the files, no part of them."""
    parts = PurePosixPath(path).parts
    return "__MACOSX" in parts or parts[-1:] == (".DS_Store",) or (bool(parts) and parts[-1].startswith("._"))


def _outside(path: str, target: str) -> SourceError:
    return SourceError(f"it contains {path!r}, a link to {target!r}, outside the archive")


def _leaves(path: str, links: Mapping[str, str]) -> bool:
    """Tell whether following `path` through these links leaves their directory at any step."""
    followed = 0
    current: list[str] = []
    remaining = [*reversed(PurePosixPath(path).parts)]
    while remaining:
        part = remaining.pop()
        if part != "..":
            current.append(part)
        elif current:
            current.pop()
        else:
            return True
        target = links.get("/".join(current)) if part != ".." else None
        if target is not None:
            followed += 1
            if followed > _MAX_LINKS_FOLLOWED:
                return False  # a cycle: it cannot be opened
            current.pop()
            remaining += reversed(PurePosixPath(target).parts)
    return False
