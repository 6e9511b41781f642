"""Stop the program of a container by its own signals, in a pod whose processes see each other.

usage: stop.py SIGNAL SECONDS [SIGNAL SECONDS]...   as a preStop hook: ends when the program has ended

Run by the Python of the image, of 3.6 or newer; nothing of the daemon is imported here.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import List, Optional, Tuple  # noqa: UP035  of 3.6, too

_LOOK_EVERY_S = 0.2
_OF_THE_POD = 1  # whose first process is not the container's


def main(words: List[str]) -> None:  # noqa: UP006  the same
    """Send each signal, and wait as long as it says, until the program is gone."""
    pid, start = program() or (0, 0)
    for name, seconds in zip(words[::2], words[1::2]):  # noqa: B905  the same
        if not pid or began(pid) != start:
            return
        os.kill(pid, signal.Signals["SIG" + name])
        until = time.monotonic() + float(seconds)
        while time.monotonic() < until and began(pid) == start:
            time.sleep(_LOOK_EVERY_S)


def program() -> Optional[Tuple[int, int]]:  # noqa: UP006, UP045  the same
    """Return the process that the container began with, and when that was.

    Its parent is outside of the pod, as those of probes and of this process are; but it is older than they are.
    """
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208  the name is all there is to see
        if name.isdigit() and int(name) not in (_OF_THE_POD, os.getpid()):
            start = began(int(name), parent="0")
            if start is not None:
                found.append((start, int(name)))
    return min(found)[::-1] if found else None


def began(pid: int, parent: str = "") -> Optional[int]:  # noqa: UP045  the same
    """Return when a process began, in ticks, None for one that has ended or has another parent."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if told[0] in "ZX" or (parent and told[1] != parent) else int(told[19])


if __name__ == "__main__":
    main(sys.argv[1:])
