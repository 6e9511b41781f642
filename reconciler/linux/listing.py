"""List directories that programs fill: no more names than asked for, and only of what is a directory itself."""

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
