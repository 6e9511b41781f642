"""Start processes that outlive the daemon, recognise them, learn of their exits, and end them for certain.

Exits are noticed through pidfd, for children and adopted processes alike.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import select
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.linux.proc_files import read_proc
from reconciler.linux.process_identity import catches, owner_of, start_ticks
from reconciler.linux.regular_files import append_to

KILLED = "was ended by SIGKILL"
_BEYOND = 10  # the descriptors that a command is given
_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37
_ORPHANS_END_S = 0.1
_ORPHAN_CHECKS = 20
_MARKED_END_S, _LOOK_AGAIN_S = 5.0, 0.01
_LIMIT = "Max realtime timeout"
_EMPTY_ROUNDS = 2  # the kernel may pass over a child while its sibling exits


# The leaders that this process watches, by their pids.
_watched: set[int] = set()


class Process:
    """A running leader of a process group, watched until it ends.

    `ended` is called once, on the loop, after every other member of its group was killed; `end` then says how it ended,
    and `told_to_end` whether this process sent the signal. It is let go then: what it is bound to has this object, and
    a daemon, which leaves old objects out of its collections of garbage, would keep such a cycle for every start.
    """

    def __init__(self, pid: int, fd: int, *, child: bool, ended: Callable[[], None]) -> None:
        self.pid = pid
        self.fd = fd
        self.child = child
        self.end: str | None = None
        self.told_to_end = False
        from asyncio import get_running_loop  # programs that only read the process table start faster without it

        self._ended = ended
        self._loop = get_running_loop()
        self._loop.add_reader(fd, self._on_end)
        _watched.add(pid)

    def signal(self, number: int) -> None:
        """Send a signal to the leader, if it is still there."""
        self.told_to_end |= number in (signal.SIGTERM, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(self.fd, number)

    def signal_if_caught(self, number: int) -> bool:
        """Send a signal to a leader that catches it; it would end one that does not, as it still starts.

        Returns whether it is told, or gone.
        """
        caught = catches(self.pid, number)
        if caught:
            self.signal(number)
        return caught is not False

    def kill_group(self) -> None:
        """Kill the leader and every process in its group."""
        self.told_to_end = True
        if self.end is None:
            kill_group(self.pid)

    def forget(self) -> None:
        """Stop watching; the process keeps running."""
        _watched.discard(self.pid)
        if self.fd >= 0:
            self._loop.remove_reader(self.fd)
            os.close(self.fd)
            self.fd = -1
        self._ended = _nothing

    def _on_end(self) -> None:
        kill_group(self.pid)
        self.end = self._reap() if self.child else "ended"
        _reap_group(self.pid)
        ended = self._ended
        self.forget()
        ended()

    def _reap(self) -> str:
        try:
            # Not waited for: one that another process traces has ended, but how can be learnt only from the tracer.
            result = os.waitid(os.P_PIDFD, self.fd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return "ended"
        if result is None:
            return "ended"
        if result.si_code == os.CLD_EXITED:
            return f"exited with {result.si_status}"
        return f"was ended by {_signal_name(result.si_status)}"


def _nothing() -> None:
    """Do nothing: the process is watched no more."""


def kill_group(leader: int) -> None:
    """Kill a process group. Call it only while its leader's pid cannot have been reused."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def send_to(pid: int, number: int) -> None:
    """Send a signal to a process by its pid; none to one that is gone by now."""
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def reap_killed(pid: int, at_most_s: float = 1.0) -> None:
    """Block until a child that was just killed is reaped; one that another process traces is an orphan for later."""
    until = time.monotonic() + at_most_s
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < until:
            time.sleep(0.001)


def await_end(pids: Collection[int], at_most_s: float) -> None:
    """Block until these processes, which were just killed, have closed all they had open."""
    deadline = time.monotonic() + at_most_s
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(pid)
            ended = select.poll()  # select() knows no descriptor over 1023
            ended.register(fd, select.POLLIN)
            ended.poll(max(0.0, deadline - time.monotonic()) * 1000)
            os.close(fd)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, so that its exit is known here.

    A kernel before 3.4 refuses, which costs only that. When this process ends, they become init's children.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants() -> frozenset[int] | None:
    """Return every process below this one; None unless the kernel makes orphans children of this one, and tells.

    One that becomes an orphan meanwhile may be missed.
    """
    adopts = ctypes.c_int()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(adopts), 0, 0, 0)
    if not adopts.value or not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):  # noqa: PTH110  as it is
        return None
    found, waiting = set[int](), [os.getpid()]
    while waiting:
        below = set(_children(waiting.pop())) - found
        found |= below
        waiting += below
    return frozenset(found)


def end_marked_orphans(then: Callable[[], None] = _nothing) -> None:
    """Kill what became a child of this process as the process that was to end it was killed; call `then` once it ended.

    On a running loop. What those have started becomes a child of this process in turn, and is killed as well.
    """
    from asyncio import get_running_loop  # programs that only read the process table start faster without it

    loop = get_running_loop()
    until = loop.time() + _MARKED_END_S

    def look(empty_rounds: int) -> None:
        empty_rounds = 0 if _kill_marked_orphans() else empty_rounds + 1
        if empty_rounds == _EMPTY_ROUNDS or loop.time() >= until:
            then()
        else:
            loop.call_later(_LOOK_AGAIN_S, look, empty_rounds)

    look(0)


def _kill_marked_orphans() -> bool:
    """Kill the children that bear the mark, a limit that this process has not; return whether there was any.

    What this process watches is none: a program may have lowered that limit for itself.
    """
    own, found = _mark_of("self"), False
    for pid in _children(os.getpid()):
        if pid in _watched or _has_ended(pid):
            continue
        with contextlib.suppress(OSError, ValueError):
            if _mark_of(pid) not in {own, "unlimited"}:
                found = True
                send_to(pid, signal.SIGKILL)
    return found


def _mark_of(pid: int | str) -> str:
    """Return the hard limit for real-time programs of a process, of whatever user: prlimit(2) tells it of few."""
    limits = read_proc(f"/proc/{pid}/limits")
    return limits[limits.index(_LIMIT) :].partition("\n")[0].split()[-2]


class Orphans:
    """Children that this process did not start: workers whose master was killed, leftovers of installers."""

    def __init__(self) -> None:
        self._seen: frozenset[int] = frozenset()

    def reap(self) -> bool:
        """Reap every child that was dead at the last call already: its starter would have waited for it by now.

        Return whether others have exited since, so that another call is due. Cheap where none is dead.
        """
        if not _is_any_dead():
            self._seen = frozenset()
            return False
        dead = frozenset(filter(_has_ended, _children(os.getpid())))
        for pid in dead & self._seen:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
        self._seen = dead - self._seen
        return bool(self._seen)


def _is_any_dead() -> bool:
    with contextlib.suppress(ChildProcessError):
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return False


def _has_ended(child: int) -> bool:
    """Whether a child has ended, or is none any more: by one call, as there may be thousands."""
    with contextlib.suppress(ChildProcessError):
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return True


def _children(pid: int) -> Iterator[int]:
    """Return the children of all threads of a process, none when it is gone."""
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  names are all there is to know
            with contextlib.suppress(OSError):
                yield from map(int, read_proc(f"/proc/{pid}/task/{thread}/children").split())


def _reap_group(leader: int, checks_left: int = _ORPHAN_CHECKS) -> None:
    """Reap the members of a killed group as they die, those that this process is the parent of, without waiting."""
    from asyncio import get_running_loop  # programs that only read the process table start faster without it

    with contextlib.suppress(ChildProcessError):
        while os.waitid(os.P_PGID, leader, os.WEXITED | os.WNOHANG) is not None:
            pass
        if checks_left > 0:
            get_running_loop().call_later(_ORPHANS_END_S, _reap_group, leader, checks_left - 1)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command to execute: a `listener` becomes descriptor 3, `output` standard output and error.

    A second listener, `beside`, becomes descriptor 4. `report` becomes 4, or 5 if that is taken; None for none.

    `output_mode` is the mode of the output file if it has to be created. `group` is the directory of a control group of
    version 2 in which a process that is forked begins.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    listener: int | None
    output: Path
    output_mode: int = 0o600
    report: int | None = None
    beside: int | None = None
    group: Path | None = None

    @property
    def reports_at(self) -> int:
        """The descriptor that `report` becomes."""
        return 4 if self.beside is None else 5


def keep_descriptors() -> None:
    """Mark every inherited descriptor close-on-exec: an instance would keep it open for months."""
    for number in [int(entry.name) for entry in os.scandir("/proc/self/fd")]:
        with contextlib.suppress(OSError):  # the scan's own is closed by now
            if number > 2:
                os.set_inheritable(number, False)


def open_output(log: Path, mode: int = 0o600) -> int:
    """Open a log to append to, or /dev/null if it cannot be opened: no app must stop for its log."""
    try:
        return append_to(log, mode)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def spawn(command: Command, ended: Callable[[], None]) -> Process:
    """Start a process as the leader of a session of its own; raises OSError when the kernel refuses."""
    pid = started(command)
    return Process(pid, watched_or_killed(pid), child=True, ended=ended)


def started(command: Command) -> int:
    """Start such a process without watching it, and return its pid; raises OSError when the kernel refuses."""
    output = open_output(command.output, command.output_mode)
    given = ((command.listener, 3), (command.beside, 4), (command.report, command.reports_at))
    passed = [(descriptor, at) for descriptor, at in given if descriptor is not None]
    beyond: list[int] = []
    try:
        if command.beside is not None:  # or the first might take the place of the second
            for descriptor, _ in passed:
                beyond.append(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _BEYOND))
            passed = [(copy, at) for copy, (_, at) in zip(beyond, passed, strict=True)]
        return os.posix_spawn(
            command.argv[0],
            list(command.argv),
            dict(command.env),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
                *((os.POSIX_SPAWN_DUP2, descriptor, at) for descriptor, at in passed),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=list(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}),
        )
    finally:
        for each in (output, *beyond):
            os.close(each)


def watched_or_killed(pid: int) -> int:
    """Return a pidfd of a child that leads its group, on a running loop.

    Without one its exit would go unnoticed: where the kernel refuses it, the group is killed, and reaped as it dies.
    Raises OSError then.
    """
    try:
        return os.pidfd_open(pid)
    except OSError:
        kill_group(pid)
        _reap_group(pid)
        raise


def adopt(pid: int, ticks: int, ended: Callable[[], None], user: int | None = None) -> Process | None:
    """Watch a process that an earlier daemon started; None when that very process is gone, or another user's.

    That of its app is `user`, if it has one.
    """
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return None
    if start_ticks(pid) != ticks or owner_of(pid) not in {os.geteuid(), user} - {None}:
        os.close(fd)
        return None
    return Process(pid, fd, child=False, ended=ended)
