"""Rewrite files that people and other programs write, too, in directories that may belong to another user.

A file keeps its mode, owner and extended attributes, and is either as it was or complete. A link is followed only if
this user or root made it, and nothing is written over a change that this process has not seen.
"""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from reconciler.linux.regular_files import UnfitFile

_MOST_LINKS = 40
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_DRAFT = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK_TRIES, _LOCK_PAUSE_S = 200, 0.05


class ChangedMeanwhile(Exception):
    """The file is not as it was when it was read."""


def rewrite(path: Path, before: bytes, after: bytes) -> None:
    """Replace the content of a file, which is `before`. Raises ChangedMeanwhile if it is not, or OSError; blocks."""
    place = real_path(path)
    with _locked(place.parent) as directory:
        status = _unchanged(directory, place, before)
        if not os.access(place.name, os.W_OK, dir_fd=directory, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        with _draft(directory, place.name) as (draft, name):
            _write(draft, after)
            _keep(draft, directory, place, status)
            os.fsync(draft)
            if _unchanged(directory, place, before).st_ino != status.st_ino:
                raise ChangedMeanwhile(str(path))
            os.rename(name, place.name, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)


def write_private(path: Path, content: bytes, owner: tuple[int, int] | None) -> bool:
    """Write a file that only its owner may read, whatever was there; return whether it is a new one.

    `owner` is the uid and gid, None for this process's own. Raises OSError; blocks.
    """
    place = real_path(path)
    with _locked(place.parent) as directory:
        is_new = _status(directory, place) is None
        with _draft(directory, place.name) as (draft, name):
            _write(draft, content)
            if owner is not None:
                os.fchown(draft, *owner)
            os.fchmod(draft, 0o600)
            os.fsync(draft)
            os.rename(name, place.name, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)
    return is_new


def make_private_directory(path: Path, owner: tuple[int, int] | None) -> bool:
    """Create a directory that only its owner may use, unless it exists; return whether it is a new one.

    Raises OSError.
    """
    place = real_path(path)
    parent = _opened(place.parent)
    try:
        try:
            os.mkdir(place.name, 0o700, dir_fd=parent)
        except FileExistsError:
            return False
        made = os.open(place.name, _DIRECTORY, dir_fd=parent)
        try:
            if owner is not None:
                os.fchown(made, *owner)
            os.fchmod(made, 0o700)
        finally:
            os.close(made)
        os.fsync(parent)
    finally:
        os.close(parent)
    return True


def remove_file(path: Path) -> bool:
    """Remove a regular file, and never what a link leads to; return whether there was one. Raises OSError."""
    directory = _opened(real_path(path.parent))
    try:
        if _status(directory, path) is None:
            return False
        os.unlink(path.name, dir_fd=directory)
        os.fsync(directory)
    finally:
        os.close(directory)
    return True


def real_path(path: Path) -> Path:
    """Return the path with every link followed. Raises OSError if another user than root made one; need not exist."""
    rest, found = [*reversed(path.absolute().parts[1:])], Path("/")
    links = 0
    while rest:
        part = rest.pop()
        if part == "..":
            found = found.parent
            continue
        step = found / part
        try:
            status = step.lstat()
        except FileNotFoundError:
            found = step
            continue
        if not stat.S_ISLNK(status.st_mode):
            found = step
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        if status.st_uid not in (os.geteuid(), 0):
            raise UnfitFile(f"{step} is a symbolic link that another user made (uid {status.st_uid})", path)
        target = step.readlink()
        if target.is_absolute():
            found = Path("/")
        rest += reversed([part for part in target.parts if part != "/"])
    return found


def _opened(directory: Path) -> int:
    """Open a directory step by step, so that none of them is a link by now. Raises OSError."""
    opened = os.open("/", _DIRECTORY)
    for step in [*reversed(directory.parents), directory][1:]:
        try:
            inner = os.open(step.name, _DIRECTORY if step == directory else _DIRECTORY | os.O_PATH, dir_fd=opened)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(directory)) from None
        finally:
            os.close(opened)
        opened = inner
    return opened


@contextmanager
def _locked(directory: Path) -> Iterator[int]:
    """Open a directory, in which no other process writes by this module meanwhile. Raises OSError."""
    opened = _opened(directory)
    try:
        for _ in range(_LOCK_TRIES):
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_LOCK_PAUSE_S)
            except OSError:  # a file system without locks
                break
        else:
            raise UnfitFile("another process keeps its directory locked", directory)
        yield opened
    finally:
        os.close(opened)


@contextmanager
def _draft(directory: int, name: str) -> Iterator[tuple[int, str]]:
    """Create a hidden file beside another, and remove it if it is not renamed."""
    hidden = f".{name[:100]}.{token_hex(4)}.draft"
    opened = os.open(hidden, _DRAFT, 0o600, dir_fd=directory)
    try:
        yield opened, hidden
    finally:
        os.close(opened)
        with suppress(FileNotFoundError):
            os.unlink(hidden, dir_fd=directory)


def _write(opened: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(opened, rest) :]


def _keep(draft: int, directory: int, place: Path, status: os.stat_result) -> None:
    """Give a draft the owner, mode and extended attributes of the file that it replaces."""
    now = os.fstat(draft)
    if (now.st_uid, now.st_gid) != (status.st_uid, status.st_gid):
        try:
            os.fchown(draft, status.st_uid, status.st_gid)
        except PermissionError:
            owner = f"uid {status.st_uid}, gid {status.st_gid}"
            raise UnfitFile(f"its owner ({owner}) could not be kept; run this as that user or as root", place) from None
    os.fchmod(draft, stat.S_IMODE(status.st_mode))
    original = os.open(place.name, _READ, dir_fd=directory)
    try:
        with suppress(OSError):  # a file system without them
            for name in os.listxattr(original):
                with suppress(OSError):
                    os.setxattr(draft, name, os.getxattr(original, name))
    finally:
        os.close(original)


def _unchanged(directory: int, place: Path, before: bytes) -> os.stat_result:
    """Return the facts of a file that has exactly this content. Raises ChangedMeanwhile, or OSError."""
    if _status(directory, place) is None:
        raise ChangedMeanwhile(str(place))
    opened = os.open(place.name, _READ, dir_fd=directory)
    try:
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode) or status.st_size != len(before):
            raise ChangedMeanwhile(str(place))
        content = b""
        while len(content) <= len(before) and (more := os.read(opened, len(before) + 1 - len(content))):
            content += more
    finally:
        os.close(opened)
    if content != before:
        raise ChangedMeanwhile(str(place))
    return status


def _status(directory: int, place: Path) -> os.stat_result | None:
    """Return the facts of a regular file, None if there is nothing. Raises OSError for anything else."""
    try:
        status = os.stat(place.name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise UnfitFile("it is not a file", place)
    return status
