"""Descriptors 0, 1 and 2 are open in this process, as every program expects of its own."""

import contextlib
import errno
import os
import sys

_NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO))


def ensure_standard_streams() -> None:
    """Open /dev/null in place of each that is closed: another file would get its number, and what is printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(number, True)
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


def has_no_room(error: OSError) -> bool:
    """Whether an error is that of a stream, whose file or device takes no more; others name their file."""
    return error.errno in _NO_ROOM and error.filename is None


def give_up_output() -> None:
    """Write what is still buffered for standard output to /dev/null, so that the end of the process says nothing."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def is_read(within_s: float) -> bool:
    """Wait that long, and return True; return False at once when the reader of standard output has gone."""
    import select

    output = select.poll()
    output.register(1, 0)  # an error and a hang-up are told without being asked for
    return not output.poll(within_s * 1000)
