"""A program that escapes: it leaves a process without marks behind, and kills what was to end that."""

import os
import sys
from pathlib import Path

import psutil

_ESCAPES = """\
import os, signal, sys, time

def told_of(pid):
    with open(f"/proc/{pid}/cmdline") as words, open(f"/proc/{pid}/stat") as fields:
        return words.read(), int(fields.read().rpartition(")")[2].split()[1])

if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    with open(sys.argv[1], "a") as file:
        file.write(f"{os.getpid()}\\n")
    os.execve("/bin/sleep", ["sleep", "1000"], {})
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
above, pid = [], os.getppid()
while pid > 1:
    words, parent = told_of(pid)
    above.append(pid)
    if "tree_exec.py" in words or "tasks/run.py" in words:
        for each in reversed(above):
            os.kill(each, signal.SIGKILL)
    pid = parent
time.sleep(1000)
"""


def escaping(directory: Path) -> tuple[list[str], Path]:
    """Return the command of it, which any Python runs, and the file with the pid of each process that it leaves."""
    program, left = directory / "escaping.py", directory / "left"
    program.write_text(_ESCAPES)
    return [sys.executable, str(program), str(left)], left


def have_ended(left: Path) -> bool:
    """Return whether every process that was left has ended, of one at least."""
    pids = [int(line) for line in left.read_text().split()] if left.exists() else []
    return bool(pids) and not any(_runs(pid) for pid in pids)


def end(left: Path) -> None:
    """Kill what a failed test would leave."""
    for line in left.read_text().split() if left.exists() else ():
        if _runs(int(line)):
            os.kill(int(line), 9)


def _runs(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.cmdline()[:2] == ["sleep", "1000"]
    except (psutil.NoSuchProcess, IndexError):
        return False
