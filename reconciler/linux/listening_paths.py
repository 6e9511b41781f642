"""Listen at a path, so that no client is ever refused there: the socket takes the place of one that was there before.

The kernel knows a socket by the name that it was bound to, which is not that of the file once it is in its place.
"""

import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from reconciler.linux.proc_files import read_proc
from reconciler.linux.sock_diag import FILE, SHOW_FILE, of_unix
from reconciler.linux.unix_sockets import reachable

_LONGEST = 107  # bytes of a path (unix(7))
_DRAFT = ".new"
_LISTENS = 0x10000  # __SO_ACCEPTCON of <linux/net.h>


def listen_at(path: Path, backlog: int) -> socket.socket:
    """Return a socket that listens at a path, in place of what was there. Raises OSError.

    Its user may connect, and the group of its directory if that may enter it.
    """
    draft = path.with_name(f"{path.name}{_DRAFT}")
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        draft.unlink(missing_ok=True)
        if len(os.fsencode(draft)) <= _LONGEST:
            opened.bind(str(draft))
        else:
            with reachable(draft) as short:
                opened.bind(short)
        directory = path.parent.stat()
        if directory.st_mode & stat.S_IXGRP:
            if draft.stat().st_gid != directory.st_gid:
                os.chown(draft, -1, directory.st_gid)
            draft.chmod(0o660)
        else:
            draft.chmod(0o600)
        opened.listen(backlog)
        draft.replace(path)
    except BaseException:
        opened.close()
        raise
    return opened


def remove_at(path: Path) -> None:
    """Remove the socket at a path, as far as it can be, and one that was cut short on its way there."""
    for each in (path, path.with_name(f"{path.name}{_DRAFT}")):
        with suppress(OSError):
            if stat.S_ISSOCK(each.lstat().st_mode):
                each.unlink()


def name_listened_at(opened: socket.socket) -> str:
    """Return the name of the file at which `listen_at` has a socket listen, "" for any other socket."""
    if opened.family != socket.AF_UNIX or opened.type != socket.SOCK_STREAM:
        return ""
    return name_of_file(opened.getsockname())


def is_in_place(path: Path, opened: socket.socket) -> bool:
    """Return whether clients that connect at a path reach this very socket, as far as the kernel tells."""
    with suppress(OSError):
        found = path.lstat()
        if not stat.S_ISSOCK(found.st_mode):
            return False
        number = _file_of(os.fstat(opened.fileno()).st_ino)
        return number is None or number == found.st_ino & 0xFFFFFFFF
    return False


def listening_names(inodes: set[int]) -> Iterator[str]:
    """Yield the names of the files at which those of these sockets listen that `listen_at` has opened."""
    with suppress(OSError):
        for line in read_proc("/proc/net/unix").splitlines()[1:]:
            fields = line.split(maxsplit=7)
            if len(fields) == 8 and int(fields[3], 16) & _LISTENS and int(fields[6]) in inodes:
                yield name_of_file(fields[7])


def name_of_file(bound: object) -> str:
    """Return the name of the file at which a socket listens that `listen_at` has bound to another, "" for any other."""
    name = bound.rpartition("/")[2] if isinstance(bound, str) else ""
    return name.removesuffix(_DRAFT) if name.endswith(_DRAFT) else ""


def _file_of(inode: int) -> int | None:
    """Return the lower half of the number of the file that a socket is bound to, None where the kernel does not say."""
    with suppress(OSError, struct.error):
        for attributes in of_unix(SHOW_FILE, inode=inode):
            if len(file := attributes.get(FILE, b"")) >= 4:
                return int.from_bytes(file[:4], sys.byteorder)
    return None
