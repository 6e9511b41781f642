"""The listeners of the API and the page, and the web process that answers there, started by the first connection.

Being a process of its own, it takes nothing from convergence, however slow and many its clients are. It ends when it is
idle, when it hangs, and with the daemon; the listeners stay.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import reconciler
from reconciler.linux.files import replace_file
from reconciler.linux.processes import Process, kill_group, open_output, reap_killed, watched_or_killed
from reconciler.linux.regular_files import read_own
from reconciler.linux.unix_sockets import reachable, refuse_files
from reconciler.settings.settings import Api, Settings
from reconciler.settings.tokens import token_of
from reconciler.state.paths import StatePaths

SIGN_OF_LIFE_EVERY_S = 10.0
_HANGS_AFTER_S = 60.0
_OPEN_AGAIN_S = 30.0
_LONGEST_PAUSE_S = 60.0
_BACKLOG = 256
_LARGEST_LOG = 2**20
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")


class WebProcess:
    """Open from `open` until `close`. `note` gets what an operator should know: an event, and what happens next."""

    def __init__(self, settings: Settings, note: Callable[[str, str], None]) -> None:
        self._settings = settings
        self._note = note
        self._loop = asyncio.get_running_loop()
        self._unix: socket.socket | None = None
        self._tcp: socket.socket | None = None
        self._pipe: socket.socket | None = None
        self._process: Process | None = None
        self._failures = 0
        self._problems: dict[str, str] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def open(self) -> None:
        """Listen, and answer clients; what cannot be opened now is retried."""
        before = len(list(self._listeners()))
        if self._unix is None:
            with self._noting("the socket of the API"):
                self._unix = _unix_listener(self._settings.paths.api)
        if self._settings.api is not None and self._tcp is None:
            where = self._settings.api.port or "a free port"
            with self._noting(f"the address of the API, {self._settings.api.host}:{where}"):
                self._open_tcp(self._settings.api)
        if len(list(self._listeners())) < 1 + (self._settings.api is not None):
            self._later("open", _OPEN_AGAIN_S, self.open)
        if self._process is None:
            self._await_connection()
        elif len(list(self._listeners())) > before:
            self._close_pipe()  # it was started with fewer, and the next one gets them all

    def _open_tcp(self, api: Api) -> None:
        """Listen at the address; where the port is free to choose, at that of the last time if it can be had."""
        if api.port:
            token_of(api.token)
            self._tcp = _tcp_listener(api.host, api.port)
            return
        _ensure_token(api.token)
        self._tcp = _free_listener(api.host, self._settings.paths.page_port)
        self._settings = replace(self._settings, api=replace(api, port=self._tcp.getsockname()[1]))

    @property
    def url(self) -> str | None:
        """The URL of the page for a browser, None while it has no TCP address."""
        return None if self._tcp is None or self._settings.api is None else f"{self._settings.api.browser_url}/"

    def close(self) -> None:
        """Close the listeners, and end the web process."""
        for timer in self._timers.values():
            timer.cancel()
        self._ignore_connections()
        self._close_pipe()
        if self._process is not None:
            kill_group(self._process.pid)
            self._process.forget()
            reap_killed(self._process.pid)
            self._process = None
        for listener in (self._unix, self._tcp):
            if listener is not None:
                listener.close()

    def _await_connection(self) -> None:
        for listener in self._listeners():
            self._loop.add_reader(listener.fileno(), self._start)

    def _ignore_connections(self) -> None:
        for listener in self._listeners():
            self._loop.remove_reader(listener.fileno())

    def _listeners(self) -> Iterator[socket.socket]:
        yield from (listener for listener in (self._unix, self._tcp) if listener is not None)

    def _start(self) -> None:
        self._ignore_connections()
        try:
            self._process = self._spawned()
        except OSError as error:
            self._pause(f"could not be started: {error}")
        else:
            self._later("hang", _HANGS_AFTER_S, self._kill)

    def _spawned(self) -> Process:
        import pickle  # a quarter of a megabyte, of which a daemon without a page has no use

        with contextlib.ExitStack() as stack, contextlib.ExitStack() as undo:
            ours, theirs = socket.socketpair()
            undo.enter_context(ours)
            stack.enter_context(theirs)
            output = open_output(_trimmed(self._settings.paths.web_log))
            stack.callback(os.close, output)
            # Copies with high numbers: putting one in its place must not overwrite another.
            wanted = [theirs.fileno(), output, output, *(listener.fileno() for listener in self._listeners())]
            copies: list[int] = []
            for number in wanted:
                copies.append(fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 32))
                stack.callback(os.close, copies[-1])
            ours.setblocking(False)
            ours.sendall(pickle.dumps((self._settings, len(copies) - 3)))
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-m", "reconciler.web"],
                _environment(),
                file_actions=[(os.POSIX_SPAWN_DUP2, copy, number) for number, copy in enumerate(copies)],
                setsid=True,
            )
            watched = watched_or_killed(pid)
            undo.pop_all()
            self._pipe = ours
            self._loop.add_reader(ours.fileno(), self._on_message)
            return Process(pid, watched, child=True, ended=self._on_end)

    def _on_message(self) -> None:
        assert self._pipe is not None
        with contextlib.suppress(OSError):
            if self._pipe.recv(4096):
                self._later("hang", _HANGS_AFTER_S, self._kill)
                return
        self._close_pipe()

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            self._loop.remove_reader(self._pipe.fileno())
            self._pipe.close()
            self._pipe = None

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill_group()

    def _on_end(self) -> None:
        end, self._process = self._process.end if self._process else None, None
        self._timers.pop("hang").cancel()
        self._close_pipe()
        if end == "exited with 0":
            self._failures = 0
            self._await_connection()
        else:
            self._pause(f"{end}; its output is in {self._settings.paths.web_log}")

    def _pause(self, why: str) -> None:
        """Start it again at the next connection, after a delay."""
        pause_s = min(2.0**self._failures, _LONGEST_PAUSE_S)
        self._failures += 1
        self._note(f"the web process {why}", f"the first connection after {pause_s:g} s starts it again")
        self._later("await", pause_s, self._await_connection)

    def _later(self, what: str, in_s: float, call: Callable[[], None]) -> None:
        if what in self._timers:
            self._timers[what].cancel()
        self._timers[what] = self._loop.call_later(in_s, call)

    @contextlib.contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        """Note once why something cannot be opened."""
        try:
            yield
            self._problems.pop(what, None)
        except (OSError, ValueError) as error:
            problem = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
            if self._problems.get(what) != problem:
                self._note(
                    f"cannot open {what}: {problem}", f"retried every {_OPEN_AGAIN_S:g} s; the apps keep serving"
                )
            self._problems[what] = problem


def page_of_its_own(paths: StatePaths) -> Api:
    """Return the address of a page that no setting names: a free port of this host alone, with a token of its own."""
    return Api(host="127.0.0.1", port=0, token=paths.page_token, writable=True)


def _ensure_token(path: Path) -> None:
    """Write a token that only this user can read, unless there is one."""
    try:
        token_of(path)
    except (OSError, ValueError):
        replace_file(path, secrets.token_urlsafe(32))


def _free_listener(host: str, remembered: Path) -> socket.socket:
    """Listen on the remembered port, or on a free one if that is taken, and remember it."""
    with contextlib.suppress(OSError, ValueError):
        known = int(read_own(remembered, 8))
        if 1024 <= known < 65536:
            return _tcp_listener(host, known)
    listener = _tcp_listener(host, 0)
    with contextlib.suppress(OSError):  # a full disk: the next daemon takes another port
        replace_file(remembered, str(listener.getsockname()[1]), durable=False)
    return listener


def _unix_listener(path: Path) -> socket.socket:
    """Open a socket at this path, in place of one that a daemon left that was killed."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        refuse_files(listener)
        path.unlink(missing_ok=True)
        with reachable(path) as short:
            listener.bind(short)
        path.chmod(0o600)
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
    """Return the variables that it needs of ours; the directory of this very code comes first on its path."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    here = str(Path(reconciler.__file__ or "").parents[1])
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(filter(None, (here, inherited.get("PYTHONPATH")))),
        "PYTHONSAFEPATH": "1",
    }


def _trimmed(log: Path) -> Path:
    with contextlib.suppress(OSError):
        if log.stat().st_size > _LARGEST_LOG:
            os.truncate(log, 0)
    return log
