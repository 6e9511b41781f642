"""Reach unix sockets in deep directories, and tell who is at the other end of a connection."""

import contextlib
import os
import pwd
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reconciler.linux.user_namespaces import root_here

_SO_PASSRIGHTS = 83  # <asm-generic/socket.h>, which Python does not name yet


@contextlib.contextmanager
def reachable(path: Path) -> Iterator[str]:
    """Return a name for a socket that fits into the 108 bytes of an address, for as long as the context lasts."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def connected(path: Path, kind: socket.SocketKind, timeout_s: float) -> socket.socket:
    """Return a socket connected to the one at a path; with a timeout of 0, it never blocks. Raises OSError."""
    opened = socket.socket(socket.AF_UNIX, kind)
    try:
        opened.settimeout(timeout_s)
        with reachable(path) as short:
            opened.connect(short)
    except BaseException:
        opened.close()
        raise
    return opened


def refuse_files(opened: socket.socket) -> None:
    """Have the kernel refuse to send open files to a socket, and to those accepted there; not before Linux 6.16."""
    with contextlib.suppress(OSError):
        opened.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)


def peer_name(connection: Any) -> str | None:
    """Return the user at the other end (SO_PEERCRED, unix(7)); None unless that is root or this process's own user.

    No other user may connect to the socket: in a namespace without root, others have the number of root, too.
    """
    _, uid = _peer(connection)
    if uid == root_here():
        uid = 0
    if uid not in (0, os.geteuid()):
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return f"user {uid}"


def peer_pid(connection: Any) -> int:
    """Return the process at the other end: of a client's connection, the one that listens."""
    pid, _ = _peer(connection)
    return pid


def _peer(connection: Any) -> tuple[int, int]:
    pid, uid, _ = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid
