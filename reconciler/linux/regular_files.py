"""Read files that strangers write: regular ones only, at most so many bytes, without ever waiting.

What a name leads to is looked at before it is opened, so that no pipe is waited for and no device is touched. A link
that leads out of the directory it has to stay in is refused.
"""

import os
import stat
from io import BufferedReader
from pathlib import Path

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a symbolic link",
}


class UnfitFile(OSError):
    """A file that is not read: `strerror` says that it is no regular file, is too large or leads elsewhere."""

    def __init__(self, reason: str, path: str | Path) -> None:
        super().__init__(0, reason, str(path))


def read_file(path: str | Path, most: int, *, within: str | Path | None = None) -> bytes:
    """Return all bytes of a regular file that has at most `most` of them. Raises OSError; UnfitFile is one.

    With `within`, the file has to be in that directory once every link is followed.
    """
    with opened_file(path, within=within) as file:
        size = os.fstat(file.fileno()).st_size
        content = b"" if size > most else file.read(most + 1)
    if size > most or len(content) > most:
        raise UnfitFile(f"it is larger than {shown_size(most)}", path)
    return content


def opened_file(path: str | Path, *, within: str | Path | None = None) -> BufferedReader:
    """Open a regular file for reading; without `within`, wherever its path leads. Raises OSError; UnfitFile is one."""
    found = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        kind = stat.S_IFMT(os.fstat(found).st_mode)
        if kind != stat.S_IFREG:
            raise UnfitFile(f"it is {_KINDS.get(kind, 'a special file')}, not a file", path)
        here = f"/proc/self/fd/{found}"
        if within is not None and not _is_below(os.readlink(here), os.path.realpath(within)):  # noqa: PTH115  as it is
            raise UnfitFile("it is a link that leads out of the source", path)
        reading = os.open(here, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(found)
    return os.fdopen(reading, "rb")


def shown_size(size: int) -> str:
    """Return a number of bytes as people write it."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} bytes"


def _is_below(path: str, directory: str) -> bool:
    return directory == "/" or path.startswith(f"{directory}/")
