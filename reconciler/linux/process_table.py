"""Read of processes what proc(5) says: processor time, memory, names, and the TCP sockets they listen on.

A process that ends meanwhile, or that the daemon may not look into, counts as nothing.
"""

import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from reconciler.linux.dataclass import dataclass
from reconciler.linux.held_files import contents
from reconciler.linux.proc_files import proc_text, read_proc

TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
# Number, local and remote address, state, two queues, timer, retransmissions, user, timeout and inode: proc(5). The
# state 0A is TCP_LISTEN of <net/tcp_states.h>.
_LISTENING = re.compile(r"^ *\d+: (?P<host>\w+):(?P<port>\w+) \S+ 0A(?: +\S+){5} +(?P<inode>\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ListeningSocket:
    """A TCP socket that accepts connections."""

    host: str
    port: int
    inode: int


def listening_sockets(pid: int | str = "self") -> Iterator[ListeningSocket]:
    """Return every listening TCP socket in the network namespace of a process."""
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            # One line at a time: there may be tens of thousands of connections.
            for found in _LISTENING.finditer(read_proc(f"/proc/{pid}/net/{table}")):
                yield ListeningSocket(_address(found["host"]), int(found["port"], 16), int(found["inode"]))


def _address(text: str) -> str:
    """Decode an address, which the kernel writes as numbers of 32 bits in its own byte order."""
    import socket

    words = (int(text[at : at + 8], 16) for at in range(0, len(text), 8))
    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def sockets_of(pid: int) -> dict[int, int]:
    """Return the inode of each socket that a process has open, by its descriptor there."""
    found: dict[int, int] = {}
    with suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                kind, _, inode = os.readlink(entry.path).partition(":")  # noqa: PTH115  very many, and no paths
                if kind == "socket":
                    found[int(entry.name)] = int(inode.strip("[]"))
    return found


def pids() -> Iterator[int]:
    """Return every process on the host."""
    return map(int, filter(str.isdecimal, os.listdir("/proc")))  # noqa: PTH208  names are all there is to know


def name_of(pid: int) -> str:
    """Return the name of a process's program, "" when it is gone."""
    try:
        return read_proc(f"/proc/{pid}/comm").strip()
    except OSError:
        return ""


def arguments_of(pid: int) -> tuple[str, ...]:
    """Return the command line of a process, () when it is gone."""
    found = contents([f"/proc/{pid}/cmdline"], proc_text).values()
    return tuple(text for content in found for text in content.split("\0"))


def age_s(pid: int) -> float | None:
    """Return the seconds since a process started, those of a suspended host included; None when it is gone."""
    try:
        started = int(read_proc(f"/proc/{pid}/stat").rpartition(")")[2].split()[19])
    except OSError:
        return None
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started / TICKS)


def family(master: int) -> Iterator[tuple[int, int]]:
    """Return a process and all its descendants, each with the ticks it has used."""
    for pid, ticks, _ in _family(master):
        yield pid, ticks


def children(pid: int) -> tuple[int, ...]:
    """Return the children of a process's first thread, none when it is gone."""
    try:
        return tuple(map(int, read_proc(f"/proc/{pid}/task/{pid}/children").split()))
    except OSError:
        return ()


class Usage(NamedTuple):
    """What a process and all below it have used: ticks by pid, and processor seconds in all, reaped ones included."""

    ticks: Mapping[int, int]
    seconds: float


def usage(master: int) -> Usage:
    """Return what a process and all its descendants have used."""
    used = list(_family(master))
    return Usage({pid: ticks for pid, ticks, _ in used}, sum(ticks + reaped for _, ticks, reaped in used) / TICKS)


def proportional(pid: int) -> int:
    """Return bytes of memory, shared pages counted in part; 0 where there is no figure."""
    return shares((pid,)).get(pid, 0)


def shares(pids: Iterable[int]) -> Mapping[int, int]:
    """Return bytes of memory of processes, shared pages counted in part: Pss of smaps_rollup.

    One of which the kernel has no figure, or that keeps its readers waiting, is left out.
    """
    of = {f"/proc/{pid}/smaps_rollup": pid for pid in pids}
    return {of[path]: size for path, size in contents([*of], _pss).items() if size}


def _pss(content: bytes) -> int:
    found = re.search(rb"^Pss: +(\d+) kB", content, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def threads(pid: int) -> int:
    """Return the number of threads of a process; 0 when it is gone."""
    try:
        return int(read_proc(f"/proc/{pid}/stat").rpartition(")")[2].split()[17])
    except (OSError, IndexError, ValueError):
        return 0


def own(pid: int) -> int:
    """Return bytes of memory that are not mapped from files; quick, and 0 when the process is gone."""
    try:
        _, resident, shared, *_ = read_proc(f"/proc/{pid}/statm").split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * _PAGE


def _family(master: int) -> Iterator[tuple[int, int, int]]:
    waiting = [master]
    while waiting:
        pid = waiting.pop()
        try:
            fields = read_proc(f"/proc/{pid}/stat").rpartition(")")[2].split()
            children = read_proc(f"/proc/{pid}/task/{pid}/children").split()
        except OSError:
            continue
        yield pid, int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
        waiting += map(int, children)
