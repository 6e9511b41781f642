"""Have what was written to a file system reach its disk."""

import ctypes
import os
from collections.abc import Sequence

# Each fsync waits for the disk; from some number on, one wait for all of the file system is shorter.
_FEW = 16


def sync_directories(directories: Sequence[str]) -> None:
    """Have the names in directories of one file system on its disk when this returns. Raises OSError; blocks."""
    if len(directories) > _FEW:
        _sync_file_system(directories[0])
        return
    for each in directories:
        sync_directory(each)


def sync_directory(directory: str | os.PathLike[str]) -> None:
    """Have the names in a directory on the disk when this returns. Raises OSError; blocks."""
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _sync_file_system(path: str) -> None:
    opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(ctypes.c_int(opened)) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(opened)
