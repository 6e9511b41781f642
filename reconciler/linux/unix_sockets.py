"""Unix sockets in deep directories: an address has 108 bytes, and a path may have more."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def reachable(place: Path) -> Iterator[str]:
    """A name for the socket at `place` that fits, for as long as the context lasts."""
    directory = os.open(place.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{place.name}"
    finally:
        os.close(directory)
