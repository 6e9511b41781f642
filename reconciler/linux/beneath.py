"""Open what a relative path leads to below a directory, and nothing outside it, whatever links say. Needs Linux 5.6."""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OPENAT2 = 437  # the number on every architecture, as for all calls since Linux 5.1
_NO_MAGIC_LINKS, _NO_LINKS, _BENEATH = 0x02, 0x04, 0x08  # linux/openat2.h
_TRIES = 100  # the kernel asks for another try while a directory of the path is renamed
_UNWAITING = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class _How(ctypes.Structure):
    """`struct open_how` of linux/openat2.h."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@contextmanager
def directory(path: Path) -> Iterator[int]:
    """Hold a directory open, to resolve paths below it. Raises OSError, also for a symbolic link."""
    opened = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield opened
    finally:
        os.close(opened)


def open_beneath(root: int, path: str, flags: int = os.O_RDONLY, *, links: bool = True) -> int:
    """Open a path below the directory that `root` holds open, for reading, and return the descriptor.

    The kernel resolves it: neither `..` nor a link leads out, and no link of /proc is followed. Raises OSError, with
    EXDEV for a path that leads out, and with ELOOP for any link where `links` is False.
    """
    resolve = _BENEATH | _NO_MAGIC_LINKS | (0 if links else _NO_LINKS)
    how = _How(flags | _UNWAITING, 0, resolve)
    name = os.fsencode(path)
    if b"\0" in name:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    for _ in range(_TRIES):
        # The C library has no function for it, and a number of a call goes through as a long.
        found = int(_libc().syscall(_OPENAT2, ctypes.c_int(root), name, ctypes.byref(how), ctypes.sizeof(how)))
        if found >= 0:
            return found
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    else:
        number = errno.EAGAIN
    raise OSError(number, os.strerror(number), path)


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc
