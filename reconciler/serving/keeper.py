"""Keep a copy of every listener in a small process, so that none closes between one daemon and the next.

An instance has the listener it serves, but a sleeping app has none, and a master may die in the very second in which no
daemon runs. Without the keeper everything works, but for that gap.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from reconciler.linux.process_identity import owner_of
from reconciler.linux.process_table import arguments_of
from reconciler.linux.processes import await_end
from reconciler.linux.unix_sockets import connected, peer_pid, reachable
from reconciler.planning.address import Address
from reconciler.serving import keeper_main

# A script, which Python compiles at each start, as a module whose bytecode is there: that saves 0.3 MB of its 3.
_RUN = (
    "import sys, _frozen_importlib_external as of;"
    "exec(of.SourceFileLoader('keeper', sys.argv[1]).get_code('keeper'), {'__name__': '__main__'})"
)
_ANSWER_S = 5.0
_START_AGAIN_S = 5.0
_LONGEST = 8192


class Keeper:
    """The keeper of one state directory, reached by its socket at `path`; started with the first listener to keep.

    It ends `patience_s` after its daemon, unless another daemon connects. No method raises OSError.
    """

    def __init__(self, path: Path, *, patience_s: float) -> None:
        self._path = path
        self._patience_s = patience_s
        self._connection: socket.socket | None = None
        self._pid: int | None = None
        self._listeners: dict[str, int] = {}
        self._unsent: dict[str, None] = {}
        self._next_start_at = 0.0

    def take(self) -> list[tuple[str, Address, socket.socket]]:
        """Return the listeners that an earlier daemon left with it, by app; the caller owns the sockets."""
        found: list[tuple[str, Address, socket.socket]] = []
        if self._connection is not None:
            return found
        with contextlib.suppress(OSError):
            line = _connected(self._path)
            try:
                for message, number in _messages(line):
                    found.append((*_parsed(message.removeprefix("have ")), socket.socket(fileno=number)))
            except (OSError, ValueError) as error:
                if isinstance(error, TimeoutError):
                    _end_hung(line)
                line.close()
                return found
            self._listeners = {_name(app, address): opened.fileno() for app, address, opened in found}
            self._follow(line)
        return found

    def keep(self, app: str, address: Address, number: int) -> None:
        """Keep a copy of this listener; `number` is its descriptor, and stays so until `drop`."""
        self._listeners[_name(app, address)] = number
        self._send_soon(_name(app, address))

    def drop(self, app: str, address: Address) -> None:
        """Close the copy of this listener, however its address was written when it was opened."""
        for name in [n for n in self._listeners if n.startswith(f"{app} ") and _parsed(n) == (app, address)]:
            del self._listeners[name]
            self._send_soon(name)

    def close(self) -> None:
        """Disconnect; the keeper keeps what it holds."""
        if self._connection is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._connection.fileno())
            loop.remove_writer(self._connection.fileno())
            self._connection.close()
            self._connection = None

    def _send_soon(self, name: str) -> None:
        self._unsent[name] = None
        if self._connection is None:
            self._start()
        else:
            self._send_all()

    def _send_all(self) -> None:
        """Send the state of every name that changed, as far as the socket takes it; the rest follows."""
        assert self._connection is not None
        loop = asyncio.get_running_loop()
        loop.remove_writer(self._connection.fileno())
        try:
            for name in list(self._unsent):
                _send(self._connection, name, self._listeners.get(name))
                del self._unsent[name]
        except BlockingIOError:
            loop.add_writer(self._connection.fileno(), self._send_all)
        except OSError:
            self._lost()

    def _start(self) -> None:
        """Start a keeper and send it everything; if that fails, a later call tries again."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._next_start_at:
            return
        self._next_start_at = loop.time() + _START_AGAIN_S
        with contextlib.suppress(OSError):
            self._pid = self._spawned()
            self._unsent = dict.fromkeys(self._listeners)
            self._follow(_connected(self._path))

    def _spawned(self) -> int:
        """Start a keeper, which outlives this process, and return its pid."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as own:
            self._path.unlink(missing_ok=True)
            with reachable(self._path) as short:
                own.bind(short)
            self._path.chmod(0o600)
            own.listen()
            arguments = [sys.executable, "-I", "-S", "-c", _RUN, keeper_main.__file__, f"{self._patience_s:g}"]
            into_nothing = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
            files = [(os.POSIX_SPAWN_DUP2, own.fileno(), 0), *into_nothing]
            return os.posix_spawn(sys.executable, arguments, {}, file_actions=files, setsid=True)

    def _follow(self, line: socket.socket) -> None:
        line.setblocking(False)
        self._connection = line
        asyncio.get_running_loop().add_reader(line.fileno(), self._on_message)
        self._send_all()

    def _on_message(self) -> None:
        """Read its greeting, `all`; after that it only says, by closing, that it has ended."""
        assert self._connection is not None
        with contextlib.suppress(BlockingIOError):
            try:
                said = self._connection.recv(_LONGEST)
            except ConnectionError:
                said = b""
            if not said:
                self._lost()

    def _lost(self) -> None:
        self.close()
        if self._pid is not None:
            with contextlib.suppress(ChildProcessError):  # it is reaped with other orphans, too
                os.waitpid(self._pid, os.WNOHANG)
        loop = asyncio.get_running_loop()
        loop.call_at(max(loop.time(), self._next_start_at), self._replace)

    def _replace(self) -> None:
        if self._connection is None and self._listeners:
            self._start()


def dismiss(path: Path) -> None:
    """End the keeper of a state directory, if there is one, and close what it holds."""
    with contextlib.suppress(OSError), _connected(path) as line:
        try:
            line.send(b"end")
            for _, number in _messages(line):
                os.close(number)
            line.recv(1)  # until it is gone
        except TimeoutError:
            _end_hung(line)


def _end_hung(line: socket.socket) -> None:
    """Kill a keeper that does not answer: no other process can open what it holds."""
    with contextlib.suppress(OSError):
        pid = peer_pid(line)
        descriptor = os.pidfd_open(pid)
        try:
            if owner_of(pid) == os.geteuid() and keeper_main.__file__ in arguments_of(pid):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                await_end([pid], _ANSWER_S)
        finally:
            os.close(descriptor)


def _connected(path: Path) -> socket.socket:
    return connected(path, socket.SOCK_SEQPACKET, _ANSWER_S)


def _messages(line: socket.socket) -> Iterator[tuple[str, int]]:
    """Receive each listener it has, with its descriptor, until it has sent all."""
    while True:
        message, numbers, _, _ = socket.recv_fds(line, _LONGEST, 1)
        if message == b"all":
            return
        if not numbers:
            raise ConnectionResetError
        os.set_inheritable(numbers[0], False)
        yield message.decode(), numbers[0]


def _send(line: socket.socket, name: str, number: int | None) -> None:
    if number is None:
        line.send(b"drop " + name.encode())
    else:
        socket.send_fds(line, [b"keep " + name.encode()], [number])


def _name(app: str, address: Address) -> str:
    return f"{app} {address.host} {address.port}"


def _parsed(name: str) -> tuple[str, Address]:
    app, _, where = name.partition(" ")
    host, _, port = where.rpartition(" ")  # a path may hold blanks
    return app, Address(host=host, port=int(port))
