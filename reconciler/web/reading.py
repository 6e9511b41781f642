"""Opening a file that something else put there: no pipe, device or directory in its place may hold a reader up."""

import os
import stat
from pathlib import Path
from typing import BinaryIO


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
