"""The listeners of the API and the page, and the process that answers there, started by the first connection.

It is a process of its own, so that whoever comes there, however slowly and however often, takes nothing from
convergence. It ends when it is idle, when it hangs, and with the daemon; the listeners stay.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import pickle
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import reconciler
from reconciler.linux.processes import Process, kill_group, open_output
from reconciler.linux.unix_sockets import reachable
from reconciler.settings.settings import Settings

SIGN_OF_LIFE_EVERY_S = 10.0
SHORTEST_TOKEN = 16
_HANGS_AFTER_S = 60.0
_OPEN_AGAIN_S = 30.0
_LONGEST_PAUSE_S = 60.0
_BACKLOG = 256
_LARGEST_LOG = 2**20
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")


class WebProcess:
    """Open from `open` until `close`. `note` gets what an operator should know: what happened, and what is next."""

    def __init__(self, settings: Settings, note: Callable[[str, str], None]) -> None:
        self._settings = settings
        self._note = note
        self._loop = asyncio.get_running_loop()
        self._unix: socket.socket | None = None
        self._tcp: socket.socket | None = None
        self._line: socket.socket | None = None
        self._process: Process | None = None
        self._failures = 0
        self._troubles: dict[str, str] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def open(self) -> None:
        """Listen, and answer whoever comes; what cannot be opened now is tried again."""
        before = len(list(self._listeners()))
        if self._unix is None:
            with self._telling("the socket of the API"):
                self._unix = _unix_listener(self._settings.paths.api)
        if self._settings.api is not None and self._tcp is None:
            with self._telling(f"the address of the API, {self._settings.api.host}:{self._settings.api.port}"):
                token_of(self._settings.api.token)
                self._tcp = _tcp_listener(self._settings.api.host, self._settings.api.port)
        if len(list(self._listeners())) < 1 + (self._settings.api is not None):
            self._later("open", _OPEN_AGAIN_S, self.open)
        if self._process is None:
            self._attend()
        elif len(list(self._listeners())) > before:
            self._hang_up()  # it was started with fewer, and the next one gets them all

    def close(self) -> None:
        """Close the listeners; who answers there ends with its line."""
        for timer in self._timers.values():
            timer.cancel()
        self._ignore()
        self._hang_up()
        if self._process is not None:
            kill_group(self._process.pid)
            self._process.forget()
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._process.pid, 0)
            self._process = None
        for listener in (self._unix, self._tcp):
            if listener is not None:
                listener.close()

    def _attend(self) -> None:
        for listener in self._listeners():
            self._loop.add_reader(listener.fileno(), self._start)

    def _ignore(self) -> None:
        for listener in self._listeners():
            self._loop.remove_reader(listener.fileno())

    def _listeners(self) -> Iterator[socket.socket]:
        yield from (listener for listener in (self._unix, self._tcp) if listener is not None)

    def _start(self) -> None:
        self._ignore()
        try:
            self._process = self._spawned()
        except OSError as error:
            self._pause(f"cannot be started: {error}")
        else:
            self._later("hang", _HANGS_AFTER_S, self._kill)

    def _spawned(self) -> Process:
        with contextlib.ExitStack() as stack:
            ours, theirs = socket.socketpair()
            stack.enter_context(theirs)
            output = open_output(_trimmed(self._settings.paths.web_log))
            stack.callback(os.close, output)
            # Copies with high numbers: putting one in its place must not overwrite another.
            wanted = [theirs.fileno(), output, output, *(listener.fileno() for listener in self._listeners())]
            copies = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 32) for number in wanted]
            for copy in copies:
                stack.callback(os.close, copy)
            ours.setblocking(False)
            try:
                ours.sendall(pickle.dumps((self._settings, len(copies) - 3)))
                pid = os.posix_spawn(
                    sys.executable,
                    [sys.executable, "-m", "reconciler.web"],
                    _environment(),
                    file_actions=[(os.POSIX_SPAWN_DUP2, copy, number) for number, copy in enumerate(copies)],
                    setsid=True,
                )
                try:
                    watched = os.pidfd_open(pid)
                except OSError:
                    kill_group(pid)
                    os.waitpid(pid, 0)
                    raise
            except OSError:
                ours.close()
                raise
            self._line = ours
            self._loop.add_reader(ours.fileno(), self._hear)
            return Process(pid, watched, child=True, ended=self._on_end)

    def _hear(self) -> None:
        assert self._line is not None
        with contextlib.suppress(OSError):
            if self._line.recv(4096):
                self._later("hang", _HANGS_AFTER_S, self._kill)
                return
        self._hang_up()

    def _hang_up(self) -> None:
        if self._line is not None:
            self._loop.remove_reader(self._line.fileno())
            self._line.close()
            self._line = None

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill_group()

    def _on_end(self) -> None:
        end, self._process = self._process.end if self._process else None, None
        self._timers.pop("hang").cancel()
        self._hang_up()
        if end == "exited with 0":
            self._failures = 0
            self._attend()
        else:
            self._pause(f"{end}; what it said is in {self._settings.paths.web_log}")

    def _pause(self, why: str) -> None:
        """Start it again at the next connection, but not before a while."""
        pause_s = min(2.0**self._failures, _LONGEST_PAUSE_S)
        self._failures += 1
        self._note(f"the process of the page and the API {why}", f"started again by a connection in {pause_s:g} s")
        self._later("attend", pause_s, self._attend)

    def _later(self, what: str, in_s: float, call: Callable[[], None]) -> None:
        if what in self._timers:
            self._timers[what].cancel()
        self._timers[what] = self._loop.call_later(in_s, call)

    @contextlib.contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        """Note once why something cannot be opened."""
        try:
            yield
            self._troubles.pop(what, None)
        except (OSError, ValueError) as error:
            trouble = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
            if self._troubles.get(what) != trouble:
                self._note(f"cannot open {what}: {trouble}", f"tried again every {_OPEN_AGAIN_S:g} s; the apps go on")
            self._troubles[what] = trouble


def token_of(place: Path) -> str:
    """The token in a file; raises OSError or ValueError, which says what is wrong with it but never what it holds."""
    with place.open("rb") as file:
        content = file.read(4097)
    if len(content) > 4096:
        raise ValueError(f"the token in {place} is longer than 4096 bytes")
    try:
        token = content.decode("ascii").strip()
    except UnicodeDecodeError:
        raise ValueError(f"the token in {place} is not plain ASCII") from None
    if len(token) < SHORTEST_TOKEN or not token.isprintable():
        raise ValueError(f"the token in {place} is no line of at least {SHORTEST_TOKEN} printable characters")
    return token


def _unix_listener(place: Path) -> socket.socket:
    """A socket at this place; one left there by a daemon that died is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        place.unlink(missing_ok=True)
        with reachable(place) as short:
            listener.bind(short)
        place.chmod(0o600)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _tcp_listener(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1" if host == "localhost" else host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ValueError("another process listens there") from error
        raise
    listener.setblocking(False)
    return listener


def _environment() -> dict[str, str]:
    """What it needs of ours; where this very code is comes first."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    here = str(Path(reconciler.__file__ or "").parents[1])
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, (here, kept.get("PYTHONPATH")))), "PYTHONSAFEPATH": "1"}


def _trimmed(log: Path) -> Path:
    with contextlib.suppress(OSError):
        if log.stat().st_size > _LARGEST_LOG:
            os.truncate(log, 0)
    return log
