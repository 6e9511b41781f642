"""Directories that go away at once, and stay away when the removal is interrupted: renamed first, emptied after."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

_GONE = ".gone-"
_DRAFT = ".draft-"


def draft(directory: Path, name: str) -> Path:
    """A path in `directory` for work on `name` that is renamed when it is finished, and is a leftover until then."""
    return directory / f"{_DRAFT}{name}-{token_hex(4)}"


def remove(path: Path) -> None:
    """Remove a directory, all of it or, when interrupted, all but what `leftovers` finds. Blocks."""
    if path.name.startswith((_GONE, _DRAFT)):
        gone = path
    else:
        gone = path.with_name(f"{_GONE}{path.name}-{token_hex(4)}")
        try:
            path.rename(gone)
        except FileNotFoundError:
            return
    shutil.rmtree(gone, ignore_errors=True)


def leftovers(directory: Path) -> Iterator[Path]:
    """Drafts and half-removed directories in `directory`."""
    return (path for path in directory.iterdir() if path.name.startswith((_GONE, _DRAFT)))


def opened(place: Path) -> BinaryIO:
    """The file, to be read; raises OSError, also for what is no file."""
    number = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(0, "it is no regular file")
        return os.fdopen(number, "rb")
    except OSError:
        os.close(number)
        raise
