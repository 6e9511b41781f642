"""Start the program of an instance below its forwarder, and learn how it ends. It never outlives the forwarder."""

import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from reconciler.linux.error_words import in_words
from reconciler.linux.proc_files import read_proc

_FIRST = 3  # the first descriptor that socket activation hands over
_PR_SET_PDEATHSIG = 1
_FLAGS = 6  # of the fields that follow the name in proc_pid_stat(5)
_EXITING = 0x4  # PF_EXITING of <linux/sched.h>, set before the first descriptor is closed
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # as of a shell
CANNOT_START = "cannot start "


class Child:
    """A program in its own process, in the group of its forwarder. `ends` becomes readable when it has ended."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], *, directory: str, listener: int | None, output: int
    ) -> None:
        """Start it; `listener` becomes its descriptor 3, and what it prints goes to `output`. Raises OSError."""
        self.name = os.path.basename(command[0])  # noqa: PTH119  a word of a command line
        self.pid = os.fork()
        if not self.pid:
            _become(command, dict(env), directory, listener, output)
        self.ends = os.pidfd_open(self.pid)
        self._status: int | None = None

    def signal(self, number: int) -> None:
        """Send a signal to the program itself, and to nothing that it started."""
        if not self.is_over():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def is_over(self) -> bool:
        """Whether it has ended."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
        return self._status is not None

    def is_ending(self) -> bool:
        """Whether it has ended, or its main thread is about to, as it is before its end can be waited for."""
        try:
            return bool(int(read_proc(f"/proc/{self.pid}/stat").rpartition(")")[2].split()[_FLAGS]) & _EXITING)
        except OSError:
            return True

    def end(self) -> str:
        """Return how it ended, as the end of a sentence."""
        assert self._status is not None
        if os.WIFSIGNALED(self._status):
            return f"was ended by {signal.Signals(os.WTERMSIG(self._status)).name}"
        return f"exited with {os.WEXITSTATUS(self._status)}"

    def ended_well(self) -> bool:
        """Whether it has ended without an error."""
        return self._status == 0

    def end_alike(self) -> None:
        """End this process as the program ended."""
        assert self._status is not None
        if os.WIFSIGNALED(self._status):
            number = os.WTERMSIG(self._status)
            if number != signal.SIGKILL:
                signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        os._exit(os.WEXITSTATUS(self._status) or 1)


def _become(command: Sequence[str], env: dict[str, str], directory: str, listener: int | None, output: int) -> None:
    """Replace this process by the program. Never returns."""
    try:
        _end_with_parent()
        for each in (signal.SIGTERM, signal.SIGUSR1, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP):
            signal.signal(each, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, target in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(number, target, inheritable=True)
        if listener is not None:
            if listener == _FIRST:
                os.set_inheritable(listener, True)
            else:
                os.dup2(listener, _FIRST, inheritable=True)
            env["LISTEN_PID"] = str(os.getpid())
        os.chdir(directory)
        os.execvpe(command[0], list(command), env)  # noqa: S606  becoming the program is all there is to do
    except OSError as error:
        os.write(2, f"{CANNOT_START}{command[0]}: {in_words(error)}\n".encode())
        os._exit(_NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE)
    finally:
        os._exit(_NOT_EXECUTABLE)


def _end_with_parent() -> None:
    """Have the kernel end this process with its forwarder: only the forwarder can reach it."""
    import ctypes

    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)
