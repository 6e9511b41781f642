"""The named pipe on which workers say that they came through their gate.

A ring carries an app's name and means nothing but "look": the files that workers leave are the truth, and a ring
that is lost is made good by the next look.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path


def open_wakeup_pipe(place: Path) -> int:
    """The named pipe on which workers say that they came through their gate; a descriptor that never ends."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(place, 0o600)
    return os.open(place, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def drain(doorbell: int, ring: Callable[[str], None]) -> None:
    """Pass on whose worker rang; a name cut in two is nobody's, and is found by a second look."""
    with contextlib.suppress(BlockingIOError):
        for name in set(os.read(doorbell, 65536).decode("ascii", "replace").split()):
            ring(name)
