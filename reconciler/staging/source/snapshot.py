"""Fingerprint a source, a directory or an archive, or copy it and fingerprint the copy.

The fingerprint is a digest of a snapshot's content: relative paths, executable bits, link targets, files. A copy's is
computed from the bytes that were copied, so a copy with the expected fingerprint *is* the expected source, whatever was
written to it meanwhile. Everything here blocks: call it in a thread.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time_ns
from typing import TypeAlias

from reconciler.linux.error_words import in_words, with_file
from reconciler.linux.light_hashes import sha256_for
from reconciler.linux.named_files import guests_of, is_readable
from reconciler.linux.readable_paths import readable_path
from reconciler.linux.regular_files import UnfitFile, read_file
from reconciler.linux.remove_tree import remove_tree
from reconciler.staging.errors import SourceError
from reconciler.staging.source import allowance
from reconciler.staging.source.reading import digest_of_open
from reconciler.staging.source.tree import (
    ARCHIVE_SUFFIXES,
    Entry,
    check_link,
    entries,
    ignored,
    is_archive,
    printable,
)

__all__ = ["DigestCache", "fingerprint", "ignored", "snapshot"]

_CHUNK = 1 << 20
_RANGE = 64 << 20
# A file changed this recently may change again with the same times: file systems' clocks tick in 1 to 10 ms.
_SETTLED_NS = 100_000_000
_UNSETTLED = (-1, -1, -1)
# More files than a program writes at once, and larger ones than are read twice for it.
_MOST_WRITTEN = 8
_LARGEST_WRITTEN = 64 << 20
# Whoever appends a function to a module is no program that writes a log.
_CODE = (
    *(
        ".py",
        ".pyi",
        ".html",
        ".htm",
        ".jinja",
        ".jinja2",
        ".j2",
        ".css",
        ".scss",
        ".js",
        ".mjs",
        ".ts",
        ".jsx",
        ".tsx",
    ),
    *(".jsx", ".tsx", ".vue", ".md", ".rst", ".toml", ".cfg", ".ini", ".yml", ".yaml", ".sql", ".po"),
)

_Stamp: TypeAlias = tuple[int, int, int, int]
_Known: TypeAlias = tuple[_Stamp, str]

_NONE: frozenset[str] = frozenset()


class DigestCache:
    """Digests of one source's files by what stat reports of them, so that unchanged files are not read again.

    Each completed reading replaces all of it, so an interrupted one does no harm.
    """

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._changed_ns = 0
        self._written: frozenset[str] | None = None

    def quiet_s(self) -> float:
        """Return how long ago the last change of a file was, as of the last reading."""
        return max(0.0, (time_ns() - self._changed_ns) / 1e9)

    def take_written(self) -> frozenset[str] | None:
        """Return the files that changed since this was last asked, if programs wrote all of them.

        None if anything was edited, added or removed.
        """
        written, self._written = self._written, _NONE
        return written

    def known(self, entry: Entry) -> str | None:
        stamp, digest = self._known.get(entry.path, (None, None))
        return digest if stamp == _stamp(entry.stat) else None

    def replace(self, known: dict[str, _Known], changed_ns: int, root: str = "") -> None:
        before, self._known = self._known, known
        written = _written(root, before, known) if before.keys() == known.keys() else None
        self._written = None if written is None or self._written is None else self._written | written
        # A time in the future is due to a clock that was set.
        self._changed_ns = min(changed_ns, time_ns())


def fingerprint(path: str, digests: DigestCache | None = None, *, of_build: bool = False) -> str:
    """Return the fingerprint that a snapshot of `path` would have now, 64 hexadecimal digits; raises SourceError.

    `of_build` says that it is in a build, and so in the state directory, where no other source is.
    """
    digests = digests or DigestCache()
    tree = _TreeDigest()
    known: dict[str, _Known] = {}
    changed_ns = 0
    with _opened(path, of_build=of_build) as (root, guests):
        if root.is_file():
            return _of_archive(root, digests)
        for entry in _readable(entries(root), guests):
            digest = ""
            if entry.kind == "file":
                digest = digests.known(entry) or _digest(f"{root}/{entry.path}")
                entry_ns = max(entry.stat.st_mtime_ns, entry.stat.st_ctime_ns)
                changed_ns = max(changed_ns, entry.stat.st_ctime_ns)
                settled = time_ns() - entry_ns > _SETTLED_NS
                known[entry.path] = (_stamp(entry.stat) if settled else (entry.stat.st_size, *_UNSETTLED)), digest
            tree.add(entry, digest)
        digests.replace(known, changed_ns, str(root))
        return tree.digest()


def snapshot(path: str, destination: Path) -> str:
    """Copy `path` to `destination`, which must not exist; returns the fingerprint of the copy.

    Raises SourceError or OSError. Where the allowance of the context ends it, `destination` is left incomplete.
    """
    tree = _TreeDigest()
    with _opened(path) as (root, guests):
        if root.is_file():
            return _unpacked(root, destination)
        destination.mkdir(parents=True)
        links = []
        for entry in _readable(entries(root), guests):
            tree.add(entry, _copy(entry, f"{root}/{entry.path}", f"{destination}/{entry.path}"))
            if entry.kind == "link":
                links.append(entry.path)
        for link in links:  # the source may have been turned under the copy, which nobody turns
            check_link(str(destination), link)
        return tree.digest()


def _written(root: str, before: dict[str, _Known], after: dict[str, _Known]) -> frozenset[str] | None:
    """Return the files that differ if each of them only grew or is no text, None if any may have been edited."""
    changed = [path for path, (_, digest) in after.items() if before[path][1] != digest]
    if len(changed) > _MOST_WRITTEN:
        return None
    for path in changed:
        (size, *_), digest = before[path]
        if not _is_written(f"{root}/{path}", size, digest):
            return None
    return frozenset(changed)


def _is_written(path: str, size: int, digest: str) -> bool:
    """Tell whether a file that is no code begins with what it was, or is no text."""
    if path.endswith(_CODE):
        return False
    try:
        content = read_file(path, _LARGEST_WRITTEN)
    except OSError:
        return False
    if b"\0" in content[:_CHUNK]:
        return True
    return len(content) > size and hashlib.sha256(content[:size]).hexdigest() == digest


def _of_archive(root: Path, digests: DigestCache) -> str:
    """Return an archive's fingerprint, that of its bytes; raises SourceError if it cannot be unpacked."""
    from reconciler.staging.source import archive

    entry = Entry(root.name, "file", root.stat())
    digest = digests.known(entry)
    if digest is None:
        archive.refuse_unfit(root)
        digest = _digest(str(root))
        archive.check_once(root)
    settled = time_ns() - max(entry.stat.st_mtime_ns, entry.stat.st_ctime_ns) > _SETTLED_NS
    known = {entry.path: (_stamp(entry.stat), digest)} if settled else {}
    digests.replace(known, entry.stat.st_ctime_ns)
    return hashlib.sha256(f"archive\0{root.name}\0{digest}".encode()).hexdigest()


def _unpacked(root: Path, destination: Path) -> str:
    """Unpack a copy of an archive, and return the fingerprint of that very copy."""
    from reconciler.staging.source import archive

    packed = destination.with_name(f"{destination.name}-packed")
    unpacked = packed / "content"
    archive.refuse_unfit(root)
    packed.mkdir(parents=True)
    copy = packed / root.name
    reading = os.open(root, os.O_RDONLY | os.O_CLOEXEC)
    try:
        writing = os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            digest = _copy_contents(reading, writing, os.fstat(reading).st_size, root.name)
        finally:
            os.close(writing)
    finally:
        os.close(reading)
    archive.unpack(copy, unpacked)
    archive.content_root(unpacked).rename(destination)
    remove_tree(packed)
    if root.name.endswith(".whl"):
        from reconciler.staging.source import wheel

        wheel.write_requirements(destination)
    return hashlib.sha256(f"archive\0{root.name}\0{digest}".encode()).hexdigest()


class _TreeDigest:
    """The digest of a tree, entry by entry."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._empty = True

    def add(self, entry: Entry, digest: str) -> None:
        self._empty = self._empty and entry.kind == "directory"
        kind = "program" if entry.executable else entry.kind
        self._hash.update(os.fsencode(f"{kind}\0{entry.path}\0{digest or entry.target}\0"))

    def digest(self) -> str:
        if self._empty:
            raise SourceError("it contains no files to stage")
        return self._hash.hexdigest()


@contextmanager
def _opened(path: str, *, of_build: bool = False) -> Iterator[tuple[Path, frozenset[int]]]:
    """Resolve a source's path, and add it to the errors that are raised meanwhile.

    Returns as well the users but root and ours who led there by links, who get nothing that they may not read.
    """
    try:
        root = Path(os.path.realpath(path, strict=True))
        guests = frozenset() if of_build else _guests(root, path)
        if not root.is_dir() and not (root.is_file() and is_archive(root.name)):
            raise SourceError(f"it is neither a directory nor an archive ({', '.join(ARCHIVE_SUFFIXES)})")
        if root.parent == root:
            raise SourceError("it is all of this host: name the directory of the app")
        yield root, guests
    except SourceError as error:
        raise SourceError(f"cannot read the source at {printable(readable_path(path))}: {error}") from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS}:
            raise
        detail = printable(with_file(error))
        missing = error.errno == errno.ENOENT and not Path(path).exists()
        reason = "it does not exist" if missing else detail
        why = f"cannot read the source at {printable(readable_path(path))}: {reason}"
        raise SourceError(why, retry="soon") from error


def _guests(root: Path, path: str) -> frozenset[int]:
    try:
        return guests_of(str(root), path)
    except UnfitFile as error:
        raise SourceError(in_words(error)) from error


def _readable(found: Iterable[Entry], guests: frozenset[int]) -> Iterable[Entry]:
    """Return the entries of a tree; raise SourceError at a file that the users who led there may not read."""
    return (_of_guests(entry, guests) for entry in found) if guests else found


def _of_guests(entry: Entry, guests: frozenset[int]) -> Entry:
    if not is_readable(entry.stat, guests):
        raise SourceError(f"it is reached by a link of a user who may not read {printable(entry.path)} in it")
    return entry


def _digest(path: str) -> str:
    # O_NOFOLLOW, O_NONBLOCK: it may have become a link or a pipe since it was listed.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        return digest_of_open(file, path)


def _copy(entry: Entry, origin: str, destination: str) -> str:
    """Copy one entry with its permissions and times; returns the digest of a file's content."""
    if entry.kind == "directory":
        os.mkdir(destination, stat.S_IMODE(entry.stat.st_mode) & 0o777 | 0o700)  # noqa: PTH102 -- very many
        return ""
    if entry.kind == "link":
        os.symlink(entry.target, destination)  # noqa: PTH211 -- very many
        return ""
    reading = os.open(origin, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = stat.S_IMODE(entry.stat.st_mode) & 0o777
        writing = os.open(destination, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            digest = _copy_contents(reading, writing, entry.stat.st_size, entry.path)
            os.utime(writing, ns=(entry.stat.st_atime_ns, entry.stat.st_mtime_ns))
            return digest
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _copy_contents(reading: int, writing: int, size: int, name: str) -> str:
    digest = sha256_for(size)
    if size > _CHUNK:
        # A reflink where the file system has them. The copy is hashed, so the digest cannot differ from it.
        with suppress(OSError):
            while os.copy_file_range(reading, writing, _RANGE):
                allowance.check(name)
        os.lseek(writing, 0, os.SEEK_SET)
        while chunk := os.read(writing, _CHUNK):
            allowance.check(name)
            digest.update(chunk)
        os.lseek(reading, os.lseek(writing, 0, os.SEEK_CUR), os.SEEK_SET)
    while chunk := os.read(reading, _CHUNK):
        allowance.check(name)
        digest.update(chunk)
        written = 0
        while written < len(chunk):
            written += os.write(writing, chunk[written:])
    return digest.hexdigest()


def _stamp(stats: os.stat_result) -> _Stamp:
    return stats.st_size, stats.st_mtime_ns, stats.st_ctime_ns, stats.st_ino
