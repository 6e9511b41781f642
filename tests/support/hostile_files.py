"""What an app may put in the place of a file that is read: each made at a path where there is nothing."""

import os
from pathlib import Path


def a_pipe(path: Path) -> None:
    """Make a named pipe that nobody writes to."""
    os.mkfifo(path)


def an_endless_file(path: Path) -> None:
    """Make a link to a device that never ends."""
    path.symlink_to("/dev/zero")


def a_huge_file(path: Path) -> None:
    """Make a sparse file of more than any memory holds."""
    with path.open("wb") as file:
        file.truncate(40 << 30)
