"""A server of our own: in a directory of its own, on ports nobody else has, and gone with whoever started it."""

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from tests.support.eventually import eventually

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_SERVERS = Path(__file__).parent.parent.parent / "scripts" / "servers"
_STOP_S = 30.0


@cache
def installed(name: str) -> None:
    """See that the packages of a server are there, installing them where that may be done; else skip, and say why."""
    done = subprocess.run([_SERVERS, name], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip() or "scripts/servers did not say why").splitlines()[-1]
        pytest.skip(f"no {name} server to test with: {last}")


@dataclass(kw_only=True)
class Private:
    """A directory that belongs to whom the server runs as, and the processes started in it.

    Nothing here runs as root: root becomes the package's own user, or `nobody`; everybody else stays who they are.
    """

    directory: Path
    user: str | None
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.directory / "log"

    def run(self, argv: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        """To its end; what it says is shown when it fails."""
        done = subprocess.run(
            argv,
            user=self.user,
            group=self.group,
            extra_groups=[] if self.user else None,
            cwd=self.directory,
            env=self._environment(environment),
            capture_output=True,
            check=False,
            text=True,
        )
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"

    def start(
        self,
        argv: Sequence[str | Path],
        environment: Mapping[str, str] | None = None,
        last: signal.Signals = signal.SIGKILL,
    ) -> subprocess.Popen[bytes]:
        """In the background, leading a group; `last` is what the kernel sends it when the tests are killed."""
        libc = ctypes.CDLL(None)
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                argv,
                user=self.user,
                group=self.group,
                extra_groups=[] if self.user else None,
                cwd=self.directory,
                env=self._environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, int(last)),  # noqa: PLW1509 -- a bare system call
            )
        self._running.append(process)
        return process

    def stop(self, process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait; its whole group when it takes too long."""
        if process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._running.remove(process)

    def until(self, ready: Callable[[], object], process: subprocess.Popen[bytes], within: float = 60.0) -> None:
        """Wait until it answers; its log when it does not."""

        def alive_and_ready() -> object:
            code = process.poll()
            if code is not None:
                raise RuntimeError(f"ended with {code}: {self.tail()}")
            return ready()

        try:
            eventually(alive_and_ready, within)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.tail()}") from error

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else "no log"

    def end(self) -> None:
        """Whatever is still running."""
        for process in tuple(self._running):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    @property
    def group(self) -> int | None:
        return pwd.getpwnam(self.user).pw_gid if self.user else None

    def _environment(self, more: Mapping[str, str] | None) -> dict[str, str]:
        path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        return {"PATH": path, "HOME": str(self.directory), "LC_ALL": "C.UTF-8", "TZ": "UTC", **(more or {})}


@contextmanager
def private(user: str) -> Iterator[Private]:
    """A place for a server; at the end its processes are gone, and so is the directory."""
    runs_as: str | None = None
    if os.geteuid() == 0:
        known = {entry.pw_name for entry in pwd.getpwall()}
        runs_as = user if user in known else "nobody"
    with ExitStack() as stack:
        # Short, for a socket's path may have 107 bytes; in a place that the server's user may enter.
        directory = Path(tempfile.mkdtemp(prefix="reconciler-", dir="/tmp"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        place = Private(directory=directory, user=runs_as)
        if runs_as:
            os.chown(directory, pwd.getpwnam(runs_as).pw_uid, pwd.getpwnam(runs_as).pw_gid)
        directory.chmod(0o755)
        stack.callback(place.end)
        yield place


def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
