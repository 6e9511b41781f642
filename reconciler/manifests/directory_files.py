"""Read a directory of manifests: the bytes of each file, or why they cannot be read. Blocks; cheap without changes.

Only plain files are ever opened, and never more than a bound is read. A file is missing from the listing only when it
is missing from a directory that could be read to its end.
"""

import errno
import os
import stat
import time
from collections.abc import Collection
from dataclasses import field

from reconciler.documents.text import LARGEST_MANIFEST, too_large
from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import in_words
from reconciler.linux.regular_files import private_place
from reconciler.manifests.origin import Listing, Look, Unreadable

_ENDINGS = (".yaml", ".yml")
# A file changed this shortly before it was read may change again without its times showing it.
_CLOCK_GRAIN_NS = 100_000_000
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What differs whenever a file was written, replaced or touched; unlike the modification time it cannot be set."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class _Seen:
    content: bytes | str
    stamp: _Stamp | None
    modified_ns: int = 0


@dataclass(slots=True)
class ReadCache:
    """What the last look found, so that the next one reads only what changed. Kept by the caller, filled by `look`.

    A file that was emptied less than `quiet_s` ago is as it last was, and in `emptied`: its content may be on the way.
    """

    seen: dict[str, _Seen] = field(default_factory=dict)
    is_filled: bool = False
    quiet_s: float = 0.0
    emptied: frozenset[str] = frozenset()


def is_manifest(name: str) -> bool:
    """Return whether a file of this name is a manifest, and neither hidden nor an editor's."""
    return name.endswith(_ENDINGS) and not name.startswith((".", "#"))


def read_directory(path: str, memo: ReadCache | None = None, unsettled: Collection[str] = ()) -> Look:
    """Return what is in the directory, as the origin that is named by its absolute path.

    Names in `unsettled` are still being written or replaced, and are as they last were.
    """
    memo = memo or ReadCache()
    origin = os.path.abspath(path)  # noqa: PTH100  the path as given, whatever links it leads through
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            status = os.fstat(directory)
            seen = _seen(directory, memo, unsettled if memo.is_filled else ())
        finally:
            os.close(directory)
    except OSError as error:
        return Unreadable(origin=origin, reason=f"cannot read {path}: {in_words(error)}")
    memo.seen, memo.is_filled = seen, True
    files = {f"{origin}/{_printable(name)}": found.content for name, found in sorted(seen.items())}
    return Listing(origin=origin, files=files, identity=(status.st_dev, status.st_ino))


def _seen(directory: int, memo: ReadCache, unsettled: Collection[str]) -> dict[str, _Seen]:
    names = {name for name in os.listdir(directory) if is_manifest(name)}
    # A listing is no snapshot: a name replaced meanwhile may be skipped. What was there is looked up by name.
    seen, emptied = {}, set()
    for name in names | memo.seen.keys():
        before = memo.seen.get(name)
        found = before if name in unsettled else _file(directory, name, before)
        if found is not None and found is not before and memo.is_filled and _was_just_emptied(found, memo.quiet_s):
            found = before
            emptied.add(name)
        if found is not None:
            seen[name] = found
    memo.emptied = frozenset(emptied)
    return seen


def _was_just_emptied(found: _Seen, quiet_s: float) -> bool:
    """Whether a file is empty, and was written so shortly ago that its content may follow; clocks may be set back."""
    return found.content == b"" and 0 <= time.time_ns() - found.modified_ns < quiet_s * 1e9


def _file(directory: int, name: str, before: _Seen | None) -> _Seen | None:
    """Return the file as it is now; None when there is none."""
    try:
        status = os.stat(name, dir_fd=directory)
        if not stat.S_ISREG(status.st_mode):
            return _Seen(f"is {_kind(status.st_mode)}, not a file; rename it or put a file in its place", None)
        if not name.isprintable():
            return _Seen("has a name that is not printable UTF-8; rename it", None)
        if before is not None and before.stamp == _stamp(status):
            return before
        return _content(directory, name)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return _dangling(directory, name)
        return _Seen(f"cannot be read: {in_words(error)}", None)


def _content(directory: int, name: str) -> _Seen:
    now_ns = time.time_ns()
    opened = os.open(name, _OPEN, dir_fd=directory)
    with open(opened, "rb", buffering=0) as file:  # noqa: PTH123  # a descriptor, not a path
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode):
            return _Seen(f"is {_kind(status.st_mode)}, not a file", None)
        if place := private_place(opened, f"/proc/self/fd/{directory}"):
            return _Seen(f"is a link to {place}, which other users may not read: put a copy in its place", None)
        stamp = _stamp(status) if now_ns - status.st_ctime_ns > _CLOCK_GRAIN_NS else None
        if status.st_size > LARGEST_MANIFEST:
            return _Seen(too_large(status.st_size), stamp)
        content = b""
        while len(content) <= LARGEST_MANIFEST and (more := file.read(LARGEST_MANIFEST + 1 - len(content))):
            content += more
        return _Seen(content, stamp, status.st_mtime_ns)


def _dangling(directory: int, name: str) -> _Seen | None:
    try:
        target = os.readlink(name, dir_fd=directory)
    except OSError:
        return None
    return _Seen(f"is a symbolic link to {target!r}, which does not exist", None)


def _stamp(status: os.stat_result) -> _Stamp:
    return _Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    return "a named pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"


def _printable(name: str) -> str:
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")
