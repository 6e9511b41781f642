"""When an instance was last at work on a request, as its workers say in the files they passed their gate with.

A worker's file holds two native values: when it last began or finished a request (a double, seconds of the monotonic
clock), and how many it is at work on (a long long). It is written through a memory map, without a system call.
"""

import struct
import time
from collections.abc import Iterable
from pathlib import Path

FORMAT = "dq"
_SIZE = struct.calcsize(FORMAT)


def last_busy(files: Iterable[Path]) -> float | None:
    """The latest moment any of these workers was busy, now for one that is; None when none of them says."""
    latest = None
    for file in files:
        try:
            content = file.read_bytes()
        except OSError:
            continue
        if len(content) < _SIZE:
            continue
        at, working_on = struct.unpack_from(FORMAT, content)
        moment = time.monotonic() if working_on > 0 else at
        latest = moment if latest is None else max(latest, moment)
    return latest
