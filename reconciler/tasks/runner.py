"""Run the command of one task to its end, whether or not a daemon lives to see it, and leave how it ended in a file.

Runs in a process of its own, in the environment of the command, with its order as JSON in descriptor 3. It bounds the
command in time and the log in size, and ends with every process that the command started, however detached. Its own
exit status is the command's, 128 and the signal's number if one ended it. The claim, a file that only one process can
create, keeps a task from being begun twice.
"""

import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from reconciler.linux.tree_exec import be_marked, end_descendants, kill, reaped
from reconciler.tasks.output import END, ERRORS, OUTPUT, OutputLog, Terminal

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_ORDER = 3
_RUNNERS_OWN: Final = ("RECONCILER_TASK_RUNNER", "RECONCILER_RECORD")  # variables that the command does not get
_CANNOT_CLAIM, _CLAIMED_BY_ANOTHER = 73, 75  # EX_CANTCREAT and EX_TEMPFAIL of sysexits.h
_NOT_EXECUTABLE, _NOT_FOUND = 126, 127  # as shells say it
_BLOCK = 1 << 20
_LONGEST_RECORD = 1 << 12
_RESULT_SIZE = 1 << 14  # reserved on the disk before the command begins
_LEFT_IN_PIPES_S = 1.0
_WRITE_AGAIN_S, _WRITE_TRIES = 1.0, 30


class _Command:
    """The process of the command, and when it is told to end and killed."""

    def __init__(self, order: Mapping[str, Any], outputs: tuple[int, int]) -> None:
        self.began = time.monotonic()
        self.grace_s: float = order["grace_s"]
        self.deadline: float = self.began + order["timeout_s"]
        self.kill_at: float | None = None
        self.status: int | None = None
        self.timed_out = self.cancelled = self.killed = False
        self.error = ""
        failed, tell = os.pipe2(os.O_CLOEXEC)
        ours = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _become(order, outputs, tell, ours)
        os.close(tell)
        with open(failed, "rb") as why:  # noqa: PTH123  a descriptor
            self.error = why.read(1000).decode(errors="replace")

    def cancel(self, *, at_once: bool) -> None:
        """Tell it to end, once; or kill it `at_once`."""
        self.cancelled = True
        self._tell()
        if at_once:
            self.kill_at = time.monotonic()

    def look_at_the_clock(self) -> None:
        now = time.monotonic()
        if now >= self.deadline and self.status is None and not (self.timed_out or self.cancelled):
            self.timed_out = True
            self._tell()
        if self.kill_at is not None and now >= self.kill_at and self.status is None and not self.killed:
            self.killed = True
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            kill(self.pid, signal.SIGKILL)
            end_descendants(self.reap)

    def until_next(self) -> float:
        """Return the seconds until it is to be told something."""
        if self.killed or self.status is not None:
            return 1.0
        at = self.deadline if self.kill_at is None else self.kill_at
        return max(0.0, at - time.monotonic())

    def reap(self) -> None:
        while (ended := reaped()) is not None:
            if ended[0] == self.pid:
                self.status = ended[1]

    def _tell(self) -> None:
        if self.kill_at is None:
            self.kill_at = time.monotonic() + self.grace_s
            if self.status is None:
                kill(self.pid, signal.SIGTERM)


def _become(order: Mapping[str, Any], outputs: tuple[int, int], tell: int, runner: int) -> None:
    """Become the command, with the rights of the app; what keeps it from that is written to `tell`."""
    code = _NOT_EXECUTABLE
    word = order["command"][0]
    try:
        os.setsid()
        os.dup2(outputs[0], 1)
        os.dup2(outputs[1], 2)
        libc = ctypes.CDLL(None)
        os.nice(order["nice"])
        be_marked()
        umask, soft, hard, data, *owner = (int(number) for number in order["sandbox"].split())
        _enter(order["cell"])
        os.umask(umask)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if data >= 0:
            resource.setrlimit(resource.RLIMIT_DATA, (data, resource.getrlimit(resource.RLIMIT_DATA)[1]))
        if owner:
            os.setgroups([])
            os.setgid(owner[1])
            os.setuid(owner[0])
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))  # a change of the user takes it back
        if os.getppid() != runner:
            os._exit(1)
        os.chdir(order["directory"])
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        environment = {name: value for name, value in os.environ.items() if name not in _RUNNERS_OWN}
        os.execvpe(word, order["command"], environment)  # noqa: S606  becoming the command is all there is to do
    except FileNotFoundError as error:
        code = _NOT_FOUND
        where = "" if "/" in word or error.filename == order["directory"] else " on the PATH of the app"
        missing = error.filename if error.filename == order["directory"] else word
        os.write(tell, f"{missing}: not found{where}".encode(errors="backslashreplace"))
    except OSError as error:
        os.write(tell, f"{word}: {error.strerror}".encode(errors="backslashreplace"))
    except ValueError as error:
        os.write(tell, f"{word}: {error}".encode(errors="backslashreplace"))
    os._exit(code)


def _enter(entrances: Sequence[str]) -> None:
    """Become a member of the control groups of the task, of those that let it in."""
    for entrance in entrances:
        with suppress(OSError):
            descriptor = os.open(entrance, os.O_WRONLY)
            os.write(descriptor, b"0")
            os.close(descriptor)


def _claim(result: str, *, must: bool) -> int:
    """Return a descriptor of the draft of the result, which no other runner of this task has.

    On a disk that takes no more files it is -1; one that `must` have its claim, as no record tells of it, ends.
    """
    if os.path.exists(result):  # noqa: PTH110  the same
        os._exit(_CLAIMED_BY_ANOTHER)
    try:
        draft = os.open(f"{result}.draft", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        os._exit(_CLAIMED_BY_ANOTHER)
    except OSError:
        if must:
            os._exit(_CANNOT_CLAIM)
        return -1
    with suppress(OSError):
        os.posix_fallocate(draft, 0, _RESULT_SIZE)
    return draft


def _leave_result(draft: int, path: str, result: Mapping[str, Any]) -> None:
    """Write the result down for good; on a full disk, it is tried for some time.

    What the command has put in the place of either file goes.
    """
    content = json.dumps(result).encode()
    for _ in range(_WRITE_TRIES):
        try:
            if draft < 0 or not _is_at(draft, f"{path}.draft"):
                _put_away(f"{path}.draft")
                draft = os.open(f"{path}.draft", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114  the same
                _put_away(path)
            os.pwrite(draft, content, 0)
            os.ftruncate(draft, len(content))
            os.fsync(draft)
            os.rename(f"{path}.draft", path)  # noqa: PTH104  the same
            directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)  # noqa: PTH120  the same
            os.fsync(directory)
            os.close(directory)
        except FileNotFoundError:
            return  # the state directory is gone
        except OSError:
            time.sleep(_WRITE_AGAIN_S)
        else:
            return


def _is_at(descriptor: int, path: str) -> bool:
    """Return whether a path still leads to an open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except OSError:
        return False


def _put_away(path: str) -> None:
    """Remove what is at a path, or rename a directory there, which the daemon removes. Raises OSError."""
    try:
        os.unlink(path)  # noqa: PTH108  the same
    except FileNotFoundError:
        return
    except OSError:
        os.rename(path, f"{path}.{os.getpid()}.aside")  # noqa: PTH104  the same


_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_received: list[int] = []


def _record() -> str:
    """Return the task's record, for a daemon whose database never got it; none that is too long for a full disk."""
    record = os.environ.get("RECONCILER_RECORD", "")
    return record if len(record) <= _LONGEST_RECORD else ""


class _Outputs:
    """What the command prints, from the pipes to the log and the terminal; a terminal that is behind holds it back."""

    def __init__(self, log: OutputLog, terminal: Terminal, pipes: dict[int, bytes]) -> None:
        self._log = log
        self._terminal = terminal
        self.pipes = pipes

    @property
    def is_held_back(self) -> bool:
        return self._terminal.is_behind

    def register(self, poll: select.poll) -> None:
        if self._terminal.fileno() >= 0:
            poll.register(self._terminal.fileno(), select.POLLOUT if self.is_held_back else 0)
        for pipe in () if self.is_held_back else self.pipes:
            poll.register(pipe, select.POLLIN)

    def pass_on(self, ready: Mapping[int, int]) -> None:
        if ready.get(self._terminal.fileno(), 0) & (select.POLLERR | select.POLLHUP):
            self._terminal.leave()
        self._terminal.go_on()
        for pipe, kind in tuple(self.pipes.items()):
            if pipe not in ready:
                continue
            block = os.read(pipe, _BLOCK)
            if not block:
                del self.pipes[pipe]
            self._log.add(block)
            self._terminal.send(kind, block)


def _run(command: _Command, outputs: _Outputs, wakeup: int) -> None:
    """Pass on what the command prints until it has ended, and all that it had started was ended with it."""
    until = None
    while outputs.pipes or command.status is None:
        poll = select.poll()
        poll.register(wakeup, select.POLLIN)
        outputs.register(poll)
        wait_s = command.until_next() if until is None else max(0.0, until - time.monotonic())
        ready = dict(poll.poll(min(wait_s, 1.0 if outputs.is_held_back else 3600.0) * 1000))
        _heed_signals(command, wakeup)
        outputs.pass_on(ready)
        command.look_at_the_clock()
        command.reap()
        if command.status is not None and until is None:
            end_descendants(command.reap)
            until = time.monotonic() + _LEFT_IN_PIPES_S
        if until is not None and time.monotonic() >= until and not outputs.is_held_back:
            return


def _heed_signals(command: _Command, wakeup: int) -> None:
    with suppress(BlockingIOError):
        os.read(wakeup, 4096)
    while _received:
        received = _received.pop()
        if received in {signal.SIGTERM, signal.SIGINT}:
            command.cancel(at_once=received == signal.SIGINT)


def main() -> int:
    """Carry out the order; return the exit status."""
    with open(_ORDER, "rb") as file:
        order = json.load(file)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wakeup, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in _SIGNALS:
        signal.signal(number, lambda received, _: _received.append(received))
    draft = _claim(order["result"], must=order.get("must_claim", False))
    log, terminal = OutputLog(order["log"], order["log_limit"], order["log_mode"]), Terminal(order["attached"])
    for standard in (1, 2):
        os.dup2(0, standard)
    first = os.pipe2(os.O_CLOEXEC)
    second = os.pipe2(os.O_CLOEXEC) if terminal.fileno() >= 0 else first
    for reading in {first[0], second[0]}:
        with suppress(OSError):
            fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, _BLOCK)
    command = _Command(order, (first[1], second[1]))
    for writing in {first[1], second[1]}:
        os.close(writing)
    _run(command, _Outputs(log, terminal, {second[0]: ERRORS, first[0]: OUTPUT}), wakeup)
    took_s = time.monotonic() - command.began
    log.close()
    if command.error:
        log.note(f"cannot run {command.error}")
    code = os.waitstatus_to_exitcode(command.status or 0)
    result = {
        "id": order["id"],
        "code": code if code >= 0 else None,
        "signal": -code if code < 0 else None,
        "timed_out": command.timed_out,
        "cancelled": command.cancelled,
        "took_s": round(took_s, 3),
        "ended_at": time.time(),  # noqa: TID251  shown to people
        "peak_memory": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
        "size": log.size,
        "error": command.error,
        "said": log.said,
        "record": _record(),
    }
    _leave_result(draft, order["result"], result)
    terminal.send(END, json.dumps(result).encode())
    terminal.finish()
    return code if code >= 0 else 128 - code
