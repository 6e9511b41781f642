"""Look at paths and directories that strangers wrote: no more names than asked for, and no error for what cannot be."""

import os
from itertools import islice
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def names_in(directory: Path, most: int) -> list[str]:
    """Return the names in a directory, the first `most` that the kernel tells of. Raises OSError, also for a link."""
    opened = os.open(directory, _DIRECTORY)
    try:
        with os.scandir(opened) as entries:
            return [entry.name for entry in islice(entries, most)]
    finally:
        os.close(opened)


def is_there(path: str | Path) -> bool:
    """Return whether this user can see something at a path; one that is too long or closed is an answer, no error."""
    return os.path.exists(path)  # noqa: PTH110  Path.exists raises


def is_directory(path: str | Path) -> bool:
    """Return the same of a directory."""
    return os.path.isdir(path)  # noqa: PTH112  Path.is_dir raises


def is_file(path: str | Path) -> bool:
    """Return the same of a file."""
    return os.path.isfile(path)  # noqa: PTH113  Path.is_file raises
