"""Open a zip file that a stranger wrote. Python reads the whole list of its members into memory, ten times its size."""

import struct
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reconciler.linux.regular_files import opened_file
from reconciler.staging.errors import SourceError

MAX_MEMBERS = 200_000
# For so many with names of a hundred characters.
_MAX_LIST_BYTES = 32 << 20
_LONG_LIST_BYTES = 1 << 20
# Whoever waits longer keeps a thread from others.
_PATIENCE_S = 2.0
# Of what zipfile knows of the end of a file: the size of the list, and where what follows it begins.
_SIZE, _LOCATION = 5, 9
_SIGNATURE = 0
_MEMBER = struct.Struct("<4s24xHHH12x")  # APPNOTE.TXT, 4.3.12: lengths of the name, the extra field and the comment
_MEMBER_MARK = b"PK\1\2"
_END64_MARK = b"PK\6\6"
_END64_BYTES = 56 + 20

_has_long_list = threading.Lock()


@contextmanager
def opened_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file. Raises SourceError if its list is too long, or while another long one is in memory."""
    with opened_file(path) as file:
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # noqa: SLF001  ZipFile reads all first
        size = int(end[_SIZE]) if end else 0
        if size > _MAX_LIST_BYTES:
            raise SourceError(f"its list of files is larger than {_MAX_LIST_BYTES >> 20} MiB")
        is_long = size > _LONG_LIST_BYTES
        if is_long and not _has_long_list.acquire(timeout=_PATIENCE_S):
            raise SourceError("its list of files is long, and that of another app is being read", retry="soon")
        try:
            if size > MAX_MEMBERS * _MEMBER.size:
                begin = end[_LOCATION] - size - (_END64_BYTES if end[_SIGNATURE] == _END64_MARK else 0)
                file.seek(max(0, begin))
                if _holds_too_many(file.read(size)):
                    raise SourceError(f"it contains more than {MAX_MEMBERS} files")
            with zipfile.ZipFile(file) as zipped:
                try:
                    yield zipped
                finally:  # it is part of a cycle, which lasts until garbage is collected
                    zipped.filelist.clear()
                    zipped.NameToInfo.clear()
        finally:
            if is_long:
                _has_long_list.release()


def _holds_too_many(listed: bytes) -> bool:
    """Whether there are too many members in a list, up to the first that is broken."""
    at = count = 0
    while count <= MAX_MEMBERS and at + _MEMBER.size <= len(listed):
        mark, *lengths = _MEMBER.unpack_from(listed, at)
        if mark != _MEMBER_MARK:
            return False
        at += _MEMBER.size + sum(lengths)
        count += 1
    return count > MAX_MEMBERS
