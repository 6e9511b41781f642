"""A source path in, a directory or an archive; its fingerprint, or a copy of it and the copy's fingerprint, out.

The fingerprint is a digest of what a snapshot holds: relative paths, executable bits, link targets, contents. A copy's
is computed from the bytes that were copied, so a copy that has the fingerprint asked for *is* what was asked for,
whatever was written to the source meanwhile. Everything here blocks: call it in a thread.
"""

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time_ns
from typing import TypeAlias

from reconciler.staging.errors import SourceError
from reconciler.staging.source.tree import ENDINGS, Entry, entries, ignored, is_archive, shown

__all__ = ["Digests", "fingerprint", "ignored", "snapshot"]

_CHUNK = 1 << 20
# A file changed this recently may change again without its times moving: file systems' clocks tick in 1 to 10 ms.
_SETTLED_NS = 100_000_000

_Stamp: TypeAlias = tuple[int, int, int, int]
_Known: TypeAlias = tuple[_Stamp, str]


class Digests:
    """Digests of one source's files by what stat says of them, so that unchanged files are not read again.

    Replaced as a whole by each look that was completed, so one that was given up half-way does no harm.
    """

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._changed_ns = 0

    def youngest_s(self) -> float:
        """How long ago any of the files was last changed, when they were last looked at."""
        return max(0.0, (time_ns() - self._changed_ns) / 1e9)

    def known(self, entry: Entry) -> str | None:
        stamp, digest = self._known.get(entry.path, (None, None))
        return digest if stamp == _stamp(entry.stat) else None

    def replace(self, known: dict[str, _Known], changed_ns: int) -> None:
        self._known = known
        # A time in the future is a clock that was set, not a change that is yet to come.
        self._changed_ns = min(changed_ns, time_ns())


def fingerprint(path: str, digests: Digests | None = None) -> str:
    """What a snapshot of `path` taken now would be, in 64 hexadecimal digits; SourceError."""
    digests = digests or Digests()
    whole = _Whole()
    seen: dict[str, _Known] = {}
    changed_ns = 0
    with _reading(path) as root:
        if root.is_file():
            return _of_archive(root, digests)
        for entry in entries(root):
            digest = ""
            if entry.kind == "file":
                digest = digests.known(entry) or _digest(f"{root}/{entry.path}")
                entry_ns = max(entry.stat.st_mtime_ns, entry.stat.st_ctime_ns)
                changed_ns = max(changed_ns, entry.stat.st_ctime_ns)
                if time_ns() - entry_ns > _SETTLED_NS:
                    seen[entry.path] = _stamp(entry.stat), digest
            whole.add(entry, digest)
        digests.replace(seen, changed_ns)
        return whole.digest()


def snapshot(path: str, destination: Path, go_on: Callable[[], bool] = lambda: True) -> str:
    """Copy `path` to `destination`, which must not exist; the fingerprint of what was copied. SourceError, OSError.

    `go_on` is asked between files: once it says no, InterruptedError is raised and `destination` is left half done.
    """
    whole = _Whole()
    with _reading(path) as root:
        if root.is_file():
            return _unpacked(root, destination, go_on)
        destination.mkdir(parents=True)
        for entry in entries(root):
            if not go_on():
                raise InterruptedError(errno.EINTR, "the copy was given up")
            whole.add(entry, _copy(entry, f"{root}/{entry.path}", f"{destination}/{entry.path}"))
        return whole.digest()


def _of_archive(root: Path, digests: Digests) -> str:
    """An archive's fingerprint is that of its bytes; one that cannot be unpacked has none."""
    from reconciler.staging.source import archive

    entry = Entry(root.name, "file", root.stat())
    digest = digests.known(entry)
    if digest is None:
        digest = _digest(str(root))
        archive.check(root)
    settled = time_ns() - max(entry.stat.st_mtime_ns, entry.stat.st_ctime_ns) > _SETTLED_NS
    known = {entry.path: (_stamp(entry.stat), digest)} if settled else {}
    digests.replace(known, entry.stat.st_ctime_ns)
    return hashlib.sha256(f"archive\0{root.name}\0{digest}".encode()).hexdigest()


def _unpacked(root: Path, destination: Path, go_on: Callable[[], bool]) -> str:
    """Unpack a copy of an archive: what is unpacked is what was read for the fingerprint."""
    from reconciler.staging.source import archive

    packed = destination.with_name(f"{destination.name}-packed")
    unpacked = packed / "content"
    packed.mkdir(parents=True)
    copy = packed / root.name
    reading = os.open(root, os.O_RDONLY | os.O_CLOEXEC)
    try:
        writing = os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            digest = _copy_contents(reading, writing, os.fstat(reading).st_size)
        finally:
            os.close(writing)
    finally:
        os.close(reading)
    archive.unpack(copy, unpacked, go_on)
    archive.top(unpacked).rename(destination)
    shutil.rmtree(packed)
    if root.name.endswith(".whl"):
        from reconciler.staging.source import wheel

        wheel.write_requirements(destination)
    return hashlib.sha256(f"archive\0{root.name}\0{digest}".encode()).hexdigest()


class _Whole:
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
            raise SourceError("it holds no file that would be staged")
        return self._hash.hexdigest()


@contextmanager
def _reading(path: str) -> Iterator[Path]:
    """The source's own directory (a link to it is followed), and its failures named."""
    try:
        root = Path(os.path.realpath(path, strict=True))
        if not root.is_dir() and not (root.is_file() and is_archive(root.name)):
            raise SourceError(f"it is neither a directory nor an archive ({', '.join(ENDINGS)})")
        yield root
    except SourceError as error:
        raise SourceError(f"cannot read the source at {shown(path)}: {error}") from error
    except InterruptedError:
        raise
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS}:
            raise
        seen = f"{error.strerror}: {shown(str(error.filename))}"
        missing = error.errno == errno.ENOENT and not Path(path).exists()
        reason = "it does not exist" if missing else seen
        raise SourceError(f"cannot read the source at {shown(path)}: {reason}") from error


def _digest(path: str) -> str:
    # O_NOFOLLOW, O_NONBLOCK: it may have become a link or a pipe since it was listed.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(entry: Entry, origin: str, destination: str) -> str:
    """Copy one entry, with its permissions and its time of change; the digest of a file's contents."""
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
            digest = _copy_contents(reading, writing, entry.stat.st_size)
            os.utime(writing, ns=(entry.stat.st_atime_ns, entry.stat.st_mtime_ns))
            return digest
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _copy_contents(reading: int, writing: int, size: int) -> str:
    digest = hashlib.sha256()
    if size > _CHUNK:
        # A reflink where the file system has them. What is hashed is the copy, so it cannot differ from it.
        with suppress(OSError):
            while os.copy_file_range(reading, writing, 1 << 30):
                pass
        os.lseek(writing, 0, os.SEEK_SET)
        while chunk := os.read(writing, _CHUNK):
            digest.update(chunk)
        os.lseek(reading, os.lseek(writing, 0, os.SEEK_CUR), os.SEEK_SET)
    while chunk := os.read(reading, _CHUNK):
        digest.update(chunk)
        written = 0
        while written < len(chunk):
            written += os.write(writing, chunk[written:])
    return digest.hexdigest()


def _stamp(facts: os.stat_result) -> _Stamp:
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino
