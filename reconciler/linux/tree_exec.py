"""Run the given command, bounded in memory and priority, and end with every process it started, however detached.

NICE is added to the command's niceness. If RECONCILER_STAGING_MEMORY is a number of bytes, the command and each process
it starts can use no more memory than that; if RECONCILER_LARGEST_FILE is one, they can write no larger file. The exit
status is the command's own. The descriptors that this process inherited besides the standard ones, such as a lock, stay
here: they are closed once the last descendant has ended.

A script, run as `python -I -S tree_exec.py STARTER NICE COMMAND…`: a daemon that is killed while it installs must not
leave an installer behind that writes into the environment its successor builds, nor a build its background processes.
"""

import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_SIGNALS = frozenset((signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
# Shorter than the grace of whoever ends this process: it has to outlive its descendants.
_GRACE_S = 1.0
_LONGEST_S = 10.0
_PAUSE_S = 0.002
_HIGHEST_MARK = 1 << 62  # microseconds


def be_marked() -> None:
    """Mark this process, and all that it starts, so that each is known should the process that ends them be killed.

    The mark is a limit of use to real-time programs alone, one lower than what the daemon has: every process inherits
    it, whatever its session, its environment and its program, and none but root raises it again.
    """
    hard = resource.getrlimit(resource.RLIMIT_RTTIME)[1]
    mark = _HIGHEST_MARK if hard == resource.RLIM_INFINITY else max(0, hard - 1)
    resource.setrlimit(resource.RLIMIT_RTTIME, (mark, mark))


def _run(command: list[str]) -> None:
    os.nice(int(sys.argv[2]))
    be_marked()
    memory = int(os.environ.pop("RECONCILER_STAGING_MEMORY", "0"))
    if memory:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    largest = int(os.environ.pop("RECONCILER_LARGEST_FILE", "0"))
    if largest:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.closerange(3, max(map(int, os.listdir("/proc/self/fd"))) + 1)  # noqa: PTH208 -- pathlib takes long to import
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    try:
        os.execvp(command[0], command)  # noqa: S606 -- becoming the command is all there is to do
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error.strerror}\n".encode(errors="backslashreplace"))
    os._exit(1)


def _wait(command: int) -> int:
    """Return the status of the command once it has ended; a request to end is passed on, with a grace."""
    deadline = None
    while True:
        remaining = _LONGEST_S if deadline is None else max(0.0, deadline - time.monotonic())
        received = signal.sigtimedwait(_SIGNALS, remaining)
        if received is not None and received.si_signo != signal.SIGCHLD and deadline is None:
            deadline = time.monotonic() + _GRACE_S
            kill(command, signal.SIGTERM)
        if deadline is not None and time.monotonic() >= deadline:
            kill(command, signal.SIGKILL)
            return signal.SIGKILL  # not waited for: a descendant that traces it may have to end first
        while (ended := reaped()) is not None:
            if ended[0] == command:
                return ended[1]


def reaped() -> tuple[int, int] | None:
    """Return a child that has ended, with its status; None if none has, or there is none."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def end_descendants(reap: Callable[[], None]) -> None:
    """Kill the children until there are none: the kernel hands over those of each that ends, for `reap` to collect."""
    deadline = time.monotonic() + _LONGEST_S
    while (children := _children()) and time.monotonic() < deadline:
        for child in children:
            kill(child, signal.SIGKILL)
        reap()
        time.sleep(_PAUSE_S)


def _reap_all() -> None:
    while reaped() is not None:
        pass


def _children() -> list[int]:
    try:
        with open("/proc/thread-self/children", "rb") as file:  # noqa: PTH123 -- the same
            return [int(pid) for pid in file.read().split()]
    except OSError:  # a kernel without that file
        processes = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 -- the same
        return [pid for pid in processes if _parent(pid) == os.getpid()]


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 -- the same
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def kill(pid: int, number: int) -> None:
    """Send a signal to a process, unless it is gone or another user's by now."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


if __name__ == "__main__":
    libc = ctypes.CDLL(None)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the process that started this command has ended")
    ours = os.getpid()
    if (started := os.fork()) == 0:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != ours:
            os._exit(1)
        _run(sys.argv[3:])
    for standard in (0, 1, 2):
        os.close(standard)
    code = os.waitstatus_to_exitcode(_wait(started))
    end_descendants(_reap_all)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        if -code not in {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(ours, -code)
    os._exit(max(code, 0))
