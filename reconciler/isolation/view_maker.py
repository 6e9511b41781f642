"""Make what confined processes see, in one process beside their fork server, which has the memory for that by then.

A process that does it by itself first writes in some two hundred pages that it shares with its fork server, and has a
copy of each for as long as it lives. Here it gets its mounts, and the rules of Landlock, as descriptors. One that gets
none, for whatever reason, does all by itself.
"""

import _socket
import fcntl
import gc
import os
import select

from reconciler.isolation.app_counts import counts_of
from reconciler.isolation.fence import Held, rules_of
from reconciler.isolation.giving import hand_out_little
from reconciler.isolation.main import given_by
from reconciler.isolation.view import enter_view, view_for
from reconciler.linux.kernel_calls import call, call_libc, prctl
from reconciler.linux.kernel_counts import is_hosts
from reconciler.linux.landlock import Ruleset, version
from reconciler.linux.mount_trees import join_mounts, leave_mounts
from reconciler.linux.open_numbers import close_from
from reconciler.linux.privileges import SYS_ADMIN, may

TYPE_CHECKING = False  # as that of `typing`
if TYPE_CHECKING:
    from reconciler.planning.isolation.confinement import Confinement

_SET_DEATH_SIGNAL, _KILL = 1, 9
_PIDFD_OPEN, _PIDFD_SEND_SIGNAL = 434, 424
_BEYOND = 150  # the numbers of what leads to it, above those that a new process gets
_LONGEST = 1 << 16
_WITHIN_S = 5.0
_CANNOT = 3
_NUMBER_SIZE = 4
_HANDED_OUT, _MADE = b"h", b"m"


class Made:
    """What a process is to see: namespaces to enter, and rules to take on.

    Its files are its user's by then if they are `handed_out`.
    """

    def __init__(self, mounts: int, queues: int, rules: int, *apart: int, handed_out: bool) -> None:
        """Take on their descriptors; with that of the user namespace in which it counts, where it is to enter one."""
        self.handed_out, self.apart = handed_out, apart[0] if apart else None
        self._namespaces = (mounts, queues)
        self.rules = Ruleset.of(rules)

    def enter(self) -> None:
        """Leave the host's tree of files for that view. Raises OSError."""
        join_mounts(*self._namespaces)
        for each in self._namespaces:
            os.close(each)


class Asked:
    """What a process has asked for and not received yet."""

    def __init__(self, line: "_socket.socket", maker: int) -> None:
        """Wait for an answer on this connection, by the process with that pidfd."""
        self._line, self._maker = line, maker

    def received(self) -> "Made | None":
        """Wait for it; None if it was not made. A process that does not answer is ended: another takes its place."""
        try:
            self._line.settimeout(_WITHIN_S)
            word, numbers = _received(self._line, 4)
            return Made(*numbers, handed_out=word == _HANDED_OUT) if len(numbers) >= 3 else None
        except TimeoutError:
            _end(self._maker)
            return None
        except OSError:
            return None
        finally:
            self._line.close()


class ViewMaker:
    """The process that makes the views of those that this one forks, as far as this one has seen to it."""

    def __init__(self) -> None:
        """Begin none yet."""
        self._line: _socket.socket | None = None
        self._process = -1
        self._pid = 0
        self._can = bool(version()) and may(SYS_ADMIN)

    @property
    def numbers(self) -> "set[int]":
        """The descriptors that lead to it."""
        return set() if self._line is None else {self._line.fileno(), self._process}

    def renew(self) -> bool:
        """Begin it, and again where it has ended; return whether there is one."""
        if self._line is not None and self._has_ended():
            self.close()
        if self._line is None and self._can:
            try:
                self._begin()
            except OSError:  # each does it by itself, then
                self.close()
        return self._line is not None

    def close(self) -> None:
        """Hold nothing open of it any more."""
        if self._line is not None:
            self._line.close()
        if self._process >= 0:
            os.close(self._process)
        self._line, self._process = None, -1

    def ask(self, arguments: "list[str]") -> "Asked | None":
        """Ask for what a process sees that is confined by these arguments; None if there is no maker."""
        if self._line is None:
            return None
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        try:
            order = "\0".join(arguments).encode("utf-8", "surrogateescape")
            self._line.sendmsg([order], [_passing([theirs.fileno()])])
        except OSError:
            ours.close()
            return None
        finally:
            theirs.close()
        return Asked(ours, self._process)

    def _begin(self) -> None:
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        try:
            self._pid = os.fork()
            if self._pid == 0:
                try:
                    _serve(theirs)
                finally:
                    os._exit(1)
            self._line = _socket.socket(fileno=fcntl.fcntl(ours.fileno(), fcntl.F_DUPFD_CLOEXEC, _BEYOND))
            self._line.settimeout(_WITHIN_S)
            opened = call(_PIDFD_OPEN, self._pid, 0)
            try:
                self._process = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, _BEYOND)
            finally:
                os.close(opened)
        finally:
            ours.close()
            theirs.close()

    def _has_ended(self) -> bool:
        try:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
        except ChildProcessError:
            return True
        if pid and os.WIFEXITED(status) and os.WEXITSTATUS(status) == _CANNOT:
            self._can = False
        return bool(pid)


class _Host:
    """The host's mounts, to which a process comes back that has left them; a copy of them, where it may not."""

    def __init__(self) -> None:
        """Begin there. Raises OSError if it cannot come back to a copy, either."""
        self._changes = select.poll()
        self._look()
        try:
            self.come_back()
        except OSError:  # they belong to more than the users of this process's namespace
            self._changes.register(os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC), select.POLLPRI)
            leave_mounts(as_user=False)
            self._look()
            self.come_back()

    def _look(self) -> None:
        self._root = os.open("/", os.O_PATH | os.O_CLOEXEC)
        self._processes = os.open("/proc", os.O_PATH | os.O_CLOEXEC)
        self._own = self.namespaces()

    def has_changed(self) -> bool:
        """Whether the mounts that this is a copy of have changed since."""
        return bool(self._changes.poll(0))

    def namespaces(self) -> "tuple[int, int]":
        """Return descriptors of the mounts and of the queues that this process has now. Raises OSError."""
        mounts, queues = (
            os.open(f"self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._processes) for kind in ("mnt", "ipc")
        )
        return mounts, queues

    def come_back(self) -> None:
        """Have those that it began with, and its root. Raises OSError."""
        join_mounts(*self._own)
        os.fchdir(self._root)
        call_libc("chroot", b".")


def _serve(line: "_socket.socket") -> None:
    """Make a view for each that asks, until no process can ask any more; end this one."""
    prctl(_SET_DEATH_SIGNAL, _KILL)
    close_from(3, {line.fileno()})
    gc.freeze()
    gc.enable()
    counts = None if is_hosts() else counts_of(None)
    apart = [] if counts is None else [counts]
    try:
        host = _Host()
    except OSError:
        os._exit(_CANNOT)
    held = Held()
    while True:
        order, answers = _received(line, 1)
        if not order or host.has_changed():  # of which the next maker has a copy
            os._exit(0)
        held.renew()
        given = given_by(order.decode("utf-8", "surrogateescape").split("\0"))
        made = _made(given, held, host)
        word = _HANDED_OUT if _is_handed_out(given) else _MADE  # not before it has a view, in which alone it reads them
        connection = _socket.socket(fileno=answers[0])
        try:
            connection.sendmsg([word], [_passing([*made, *apart])])
        except OSError:  # it has ended meanwhile
            pass
        finally:
            connection.close()
        for each in made:
            os.close(each)


def _is_handed_out(given: "Confinement") -> bool:
    """Give the process's files to its user if that is soon done; otherwise, it does so, and tells what fails."""
    try:
        return hand_out_little(given)
    except OSError:
        return False


def _made(given: "Confinement", held: Held, host: _Host) -> "list[int]":
    """Return descriptors of what a process is to see. Raises OSError: this process is of no use then."""
    enter_view(view_for(given))
    made = [*host.namespaces(), rules_of(given, sees=True, held=held).descriptor]
    host.come_back()
    return made


def _received(line: "_socket.socket", count: int) -> "tuple[bytes, list[int]]":
    """Return a message and the descriptors that came with it, at most that many."""
    room = _socket.CMSG_SPACE(count * _NUMBER_SIZE)
    message, ancillary, _, _ = line.recvmsg(_LONGEST, room, _socket.MSG_CMSG_CLOEXEC)
    numbers = [
        int.from_bytes(data[at : at + _NUMBER_SIZE], "little")
        for _, _, data in ancillary
        for at in range(0, len(data) - _NUMBER_SIZE + 1, _NUMBER_SIZE)
    ]
    return message, numbers


def _passing(numbers: "list[int]") -> "tuple[int, int, bytes]":
    return _socket.SOL_SOCKET, _socket.SCM_RIGHTS, b"".join(each.to_bytes(_NUMBER_SIZE, "little") for each in numbers)


def _end(process: int) -> None:
    try:  # noqa: SIM105  contextlib would have to be loaded
        call(_PIDFD_SEND_SIGNAL, process, _KILL, None, 0)
    except OSError:  # it has ended
        pass
