"""Open files that strangers can replace: regular ones only, at most so many bytes, without ever waiting.

What a name leads to is looked at before it is opened, so that no pipe is waited for and no device is touched. A link
that leads out of the directory it has to stay in is refused, and so is any in the place of a file of our own.
"""

import json
import os
import stat
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a symbolic link",
}
# Neither a link nor a pipe, nor another process's lease on the file, is waited for or followed.
_UNFOLLOWED = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_HOSTS = (("dev",), ("proc",), ("sys",))
_REMOVABLE = frozenset((stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFLNK))
_TRIES = 3  # an app may replace it again and again


class UnfitFile(OSError):
    """A file that is not read: `strerror` says that it is no regular file, is too large or leads elsewhere."""

    def __init__(self, reason: str, path: str | Path) -> None:
        super().__init__(0, reason, str(path))

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


def read_file(path: str | Path, most: int, *, within: str | Path | None = None) -> bytes:
    """Return all bytes of a regular file that has at most `most` of them. Raises OSError; UnfitFile is one.

    With `within`, the file has to be in that directory once every link is followed.
    """
    with opened_file(path, within=within) as file:
        return read_all(file, path, most)


def read_all(file: BinaryIO, path: str | Path, most: int) -> bytes:
    """Return all bytes of an opened file that has at most `most` of them. Raises OSError; UnfitFile is one."""
    size = os.fstat(file.fileno()).st_size
    # As much memory as is asked for is taken: the most is a thousand times what most files have.
    content = b"" if size > most else read_now(file, size + 1 if size else most + 1)
    if 0 < size < len(content):  # it has grown
        content += read_now(file, most + 1 - len(content))
    if size > most or len(content) > most:
        raise UnfitFile(f"it is larger than {shown_size(most)}", path)
    return content


def read_now(file: BinaryIO, most: int) -> bytes:
    """Return the first `most` bytes of an open file, none of a file of the kernel that has nothing to say yet."""
    return file.read(most) or b""  # None, where nothing is waited for


def read_own(path: str | Path, most: int) -> bytes:
    """Return the first `most` bytes of a file that only we write, as regular files and never as links.

    Quicker than `read_file`, for what is read again and again. Raises OSError; UnfitFile is one.
    """
    reading = os.open(path, os.O_RDONLY | _UNFOLLOWED)
    try:
        size = min(_regular(reading, path).st_size, most)
        content = os.read(reading, size)
        while len(content) < size and (more := os.read(reading, size - len(content))):
            content += more
    finally:
        os.close(reading)
    return content


def still_has(path: str | Path, content: bytes, most: int) -> bool:
    """Return whether `read_own` would return the same as when it returned `content`. Raises OSError."""
    reading = os.open(path, os.O_RDONLY | _UNFOLLOWED)
    try:
        return os.read(reading, most) == content
    finally:
        os.close(reading)


def read_record(path: str | Path, most: int) -> Any:
    """Return what a JSON file of our own holds. Raises OSError, or ValueError for what is no JSON of `most` bytes."""
    content = read_own(path, most + 1)
    if len(content) > most:
        raise ValueError(f"{path} is larger than {shown_size(most)}")
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply") from error


def append_to(path: str | Path, mode: int = 0o600) -> int:
    """Open a regular file to append to it, created with this mode if it is missing, and return the descriptor.

    A pipe, a link or a socket in its place is removed, which the new file says in its first line. Raises OSError, also
    for a directory or a device.
    """
    removed = ""
    for _ in range(_TRIES):
        try:
            return _appending(path, mode, removed)
        except OSError:
            removed = _unfit_kind(path)
            if not removed:
                raise
        with suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108  as cheap as can be
    raise UnfitFile(f"it is {removed} again and again", path)


def append_only_to(path: str | Path, mode: int = 0o600) -> int:
    """Open a regular file to append to it, as `append_to` does, but leave whatever else is in its place.

    Raises OSError, for a link too; UnfitFile is one.
    """
    return _appending(path, mode, "")


def _appending(path: str | Path, mode: int, removed: str) -> int:
    opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _UNFOLLOWED, mode)
    try:
        _regular(opened, path)
        os.set_blocking(opened, True)
        if removed:
            with suppress(OSError):
                os.write(opened, f"reconciler: {removed} was in the place of this log, and was removed\n".encode())
    except BaseException:
        os.close(opened)
        raise
    return opened


def _unfit_kind(path: str | Path) -> str:
    """Return the kind of what can be removed in the place of a file, "" for everything that an app cannot make.

    A device is the host's, as /dev/null is, and so is a link beside devices, as /dev/stderr is.
    """
    try:
        kind = stat.S_IFMT(os.lstat(path).st_mode)
    except OSError:
        return ""
    if Path(path).parent.resolve().parts[1:2] in _HOSTS:
        return ""
    return _KINDS[kind] if kind in _REMOVABLE else ""


def written_anew(path: str | Path, mode: int = 0o600) -> int:
    """Open an empty regular file to write to, in the place of one of ours, and return the descriptor.

    Raises OSError; UnfitFile is one.
    """
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | _UNFOLLOWED, mode)
    try:
        _regular(opened, path)
        os.ftruncate(opened, 0)
        os.set_blocking(opened, True)
    except BaseException:
        os.close(opened)
        raise
    return opened


def _regular(opened: int, path: str | Path) -> os.stat_result:
    """Return the facts of an opened file. Raises UnfitFile unless it is a regular one."""
    facts = os.fstat(opened)
    if not stat.S_ISREG(facts.st_mode):
        raise UnfitFile(f"it is {_KINDS.get(stat.S_IFMT(facts.st_mode), 'a special file')}, not a file", path)
    return facts


def opened_file(path: str | Path, *, within: str | Path | None = None, follow: bool = True) -> BufferedReader:
    """Open a regular file for reading; without `within`, wherever its path leads. Raises OSError; UnfitFile is one.

    Without `follow`, a link is no regular file.
    """
    found = os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    try:
        _regular(found, path)
        here = f"/proc/self/fd/{found}"
        if within is not None and not _is_below(os.readlink(here), os.path.realpath(within)):  # noqa: PTH115  as it is
            raise UnfitFile("it is a link that leads out of the source", path)
        reading = os.open(here, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(found)
    return os.fdopen(reading, "rb")


def private_place(opened: int, directory: str | Path) -> str:
    """Return where an open file is, if that is out of a directory and root alone may read it; "" otherwise.

    So no user has root show a file by a link to it.
    """
    if os.geteuid() or os.fstat(opened).st_mode & stat.S_IROTH:
        return ""
    place = os.readlink(f"/proc/self/fd/{opened}")  # noqa: PTH115  as it is
    return "" if _is_below(place, os.path.realpath(directory)) else place


def shown_size(size: int) -> str:
    """Return a number of bytes as people write it."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} bytes"


def _is_below(path: str, directory: str) -> bool:
    return directory == "/" or path.startswith(f"{directory}/")
