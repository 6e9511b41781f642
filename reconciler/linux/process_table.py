"""What processes take of this host, from proc(5): the ticks they used, and their memory."""

import os
from collections.abc import Iterator
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def family(master: int) -> Iterator[tuple[int, int]]:
    """A process and all below it, each with the ticks it has used; nothing when it is gone."""
    for pid, ticks, _ in _family(master):
        yield pid, ticks


def seconds_of(master: int) -> float:
    """The processor seconds that a process and all below it have used, those it has buried included."""
    return sum(ticks + buried for _, ticks, buried in _family(master)) / TICKS


def proportional(pid: int) -> int:
    """Bytes of memory, what is shared counted in part (Pss of smaps_rollup); 0 where the kernel does not tell."""
    try:
        for told in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if told.startswith("Pss:"):
                return int(told.split()[1]) * 1024
    except OSError:
        pass
    return 0


def own(pid: int) -> int:
    """Bytes of memory that are not mapped from files; quick, and 0 when the process is gone."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * _PAGE


def _family(master: int) -> Iterator[tuple[int, int, int]]:
    waiting = [master]
    while waiting:
        pid = waiting.pop()
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            continue
        yield pid, int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
        waiting += map(int, children)
