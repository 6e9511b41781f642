"""Listen at a path, so that no client is ever refused there: the socket takes the place of one that was there before.

The kernel knows a socket by the name that it was bound to, which is not that of the file once it is in its place.
"""

import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from reconciler.linux.proc_files import read_proc
from reconciler.linux.unix_sockets import reachable

_LONGEST = 107  # bytes of a path (unix(7))
_DRAFT = ".new"
_LISTENS = 0x10000  # __SO_ACCEPTCON of <linux/net.h>
# sock_diag(7) and <linux/unix_diag.h>
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY, _REQUEST, _SHOW_FILE, _FILE = 20, 1, 2, 1
_EVERY_STATE, _NO_COOKIE = 0xFFFFFFFF, 0xFFFFFFFF
_HEADER, _MESSAGE, _ATTRIBUTE = struct.Struct("=IHHII"), 16, struct.Struct("=HH")


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
    body = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, _EVERY_STATE, inode, _SHOW_FILE, _NO_COOKIE, _NO_COOKIE)
    header = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST, 1, 0)
    with (
        suppress(OSError, struct.error),
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as line,
    ):
        line.settimeout(1.0)
        line.sendto(header + body, (0, 0))
        answer = line.recv(8192)
        _, kind, *_ = _HEADER.unpack_from(answer)
        at = _HEADER.size + _MESSAGE
        while kind == _SOCK_DIAG_BY_FAMILY and at + _ATTRIBUTE.size <= len(answer):
            length, name = _ATTRIBUTE.unpack_from(answer, at)
            if name == _FILE:
                return int(struct.unpack_from("=I", answer, at + _ATTRIBUTE.size)[0])
            at += max(_ATTRIBUTE.size, (length + 3) & ~3)
    return None
