"""Processes as the kernel tells of them: who is whose child, what they take; and ending those we marked."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

MARK = "RECONCILER_BENCHMARK"
_SCHEDULED = 2  # CPUCLOCK_SCHED: the clock of another process by its pid, see clock_getcpuclockid(3)


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return []


def with_descendants(pids: Iterable[int]) -> list[int]:
    """These and all below them, each once."""
    found: list[int] = []
    todo = list(pids)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.append(pid)
            todo.extend(children(pid))
    return found


def command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def environment(pid: int) -> dict[str, str]:
    with contextlib.suppress(OSError):
        block = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
        return dict(each.split("=", 1) for each in block if "=" in each)
    return {}


def _status(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none when it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def parent(pid: int) -> int:
    fields = _status(pid)
    return int(fields[1]) if fields else 0


def is_alive(pid: int) -> bool:
    """Neither gone nor waiting to be reaped."""
    fields = _status(pid)
    return bool(fields) and fields[0] not in "ZX"


def cpu_s(pid: int) -> float:
    """Processor seconds of all its threads, those that have ended included, to the nanosecond; 0 when it is gone."""
    with contextlib.suppress(OSError):
        return time.clock_gettime((~pid << 3) | _SCHEDULED)
    return 0.0


def has_work(pid: int) -> bool:
    """Whether one of its threads has, or waits for, a processor or a disk, as it does in vain on a busy host."""
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                if (thread / "stat").read_text().rpartition(")")[2].split()[0] in "RD":
                    return True
    return False


def memory_mb(pid: int) -> float:
    """Its proportional share of the memory it has mapped (PSS); 0 when it is gone."""
    return memory_kib(pid, "Pss") / 1024


def memory_kib(pid: int, field: str) -> int:
    """A sum over all that it has mapped, by its name in smaps_rollup; 0 when it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1])
    return 0


def seconds_of(command: Sequence[str], cwd: Path) -> float:
    """How long a command takes, from its start to its end; raises when it fails."""
    began = time.perf_counter()
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def marked(mark: str) -> list[int]:
    """Every live process that was started with this mark in its environment, or below one that was."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [pid for pid in pids if environment(pid).get(MARK) == mark and is_alive(pid)]


def end_marked(mark: str, within_s: float) -> None:
    """Wait for all marked processes to end, and kill what is left after that."""
    deadline = time.monotonic() + within_s
    while left := marked(mark):
        if time.monotonic() > deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
