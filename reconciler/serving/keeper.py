"""The small process that holds a copy of every listener, so that none closes between one daemon and the next.

An instance holds the listener it serves, but a sleeping app has none, and a master may die in the very second in which
no daemon is there. What is kept here is a net below all that: where it is missing everything works, with that one gap.
"""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from reconciler.linux.unix_sockets import reachable
from reconciler.planning.desired import Address
from reconciler.serving import keeper_main

_ANSWER_S = 5.0
_START_AGAIN_S = 5.0
_LONGEST = 512


class Keeper:
    """The keeper of one state directory, known by its socket at `place`; started when there is something to keep.

    It ends `patience_s` after its daemon, unless another comes. Nothing here raises OSError: without one, all goes on.
    """

    def __init__(self, place: Path, *, patience_s: float) -> None:
        self._place = place
        self._patience_s = patience_s
        self._line: socket.socket | None = None
        self._pid: int | None = None
        self._kept: dict[str, int] = {}
        self._untold: dict[str, None] = {}
        self._next_start_at = 0.0

    def take(self) -> list[tuple[str, Address, socket.socket]]:
        """What an earlier daemon left with it, by app; the sockets are the caller's."""
        found: list[tuple[str, Address, socket.socket]] = []
        with contextlib.suppress(OSError):
            line = _called(self._place)
            try:
                for message, number in _messages(line):
                    found.append((*_meaning(message.removeprefix("have ")), socket.socket(fileno=number)))
            except (OSError, ValueError):
                line.close()
                return found
            self._kept = {_name(app, address): held.fileno() for app, address, held in found}
            self._follow(line)
        return found

    def keep(self, app: str, address: Address, number: int) -> None:
        """Hold a copy of this listener from now on; `number` is its descriptor, and stays so until `drop`."""
        self._kept[_name(app, address)] = number
        self._tell(_name(app, address))

    def drop(self, app: str, address: Address) -> None:
        """Hold it no more."""
        if self._kept.pop(_name(app, address), None) is not None:
            self._tell(_name(app, address))

    def close(self) -> None:
        """Leave it alone with what it holds."""
        if self._line is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._line.fileno())
            loop.remove_writer(self._line.fileno())
            self._line.close()
            self._line = None

    def _tell(self, name: str) -> None:
        self._untold[name] = None
        if self._line is None:
            self._start()
        else:
            self._tell_all()

    def _tell_all(self) -> None:
        """Say of each untold name what is true of it now, as far as the line takes it; the rest follows."""
        assert self._line is not None
        loop = asyncio.get_running_loop()
        loop.remove_writer(self._line.fileno())
        try:
            for name in list(self._untold):
                _say(self._line, name, self._kept.get(name))
                del self._untold[name]
        except BlockingIOError:
            loop.add_writer(self._line.fileno(), self._tell_all)
        except OSError:
            self._lost()

    def _start(self) -> None:
        """Start one and tell it everything; when that cannot be done now, some later time will do."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._next_start_at:
            return
        self._next_start_at = loop.time() + _START_AGAIN_S
        with contextlib.suppress(OSError):
            self._pid = self._spawned()
            self._untold = dict.fromkeys(self._kept)
            self._follow(_called(self._place))

    def _spawned(self) -> int:
        """The pid of a new one. It outlives this process, and belongs to nobody then."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as own:
            self._place.unlink(missing_ok=True)
            with reachable(self._place) as short:
                own.bind(short)
            self._place.chmod(0o600)
            own.listen()
            arguments = [sys.executable, "-I", "-S", keeper_main.__file__, f"{self._patience_s:g}"]
            into_nothing = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
            files = [(os.POSIX_SPAWN_DUP2, own.fileno(), 0), *into_nothing]
            return os.posix_spawn(sys.executable, arguments, {}, file_actions=files, setsid=True)

    def _follow(self, line: socket.socket) -> None:
        line.setblocking(False)
        self._line = line
        asyncio.get_running_loop().add_reader(line.fileno(), self._hear)
        self._tell_all()

    def _hear(self) -> None:
        """A new one begins with `all`; after that it has nothing to say but that it is gone."""
        assert self._line is not None
        with contextlib.suppress(BlockingIOError):
            try:
                said = self._line.recv(_LONGEST)
            except ConnectionError:
                said = b""
            if not said:
                self._lost()

    def _lost(self) -> None:
        self.close()
        if self._pid is not None:
            with contextlib.suppress(ChildProcessError):  # it is buried with other orphans, too
                os.waitpid(self._pid, os.WNOHANG)
        loop = asyncio.get_running_loop()
        loop.call_at(max(loop.time(), self._next_start_at), self._replace)

    def _replace(self) -> None:
        if self._line is None and self._kept:
            self._start()


def dismiss(place: Path) -> None:
    """End the keeper of a state directory, if there is one: what it holds is closed with it."""
    with contextlib.suppress(OSError), _called(place) as line:
        line.send(b"end")
        for _, number in _messages(line):
            os.close(number)
        line.recv(1)  # until it is gone


def _called(place: Path) -> socket.socket:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        line.settimeout(_ANSWER_S)
        with reachable(place) as short:
            line.connect(short)
    except OSError:
        line.close()
        raise
    return line


def _messages(line: socket.socket) -> Iterator[tuple[str, int]]:
    """What it has, each with its descriptor, until it has said all."""
    while True:
        message, numbers, _, _ = socket.recv_fds(line, _LONGEST, 1)
        if message == b"all":
            return
        if not numbers:
            raise ConnectionResetError
        os.set_inheritable(numbers[0], False)
        yield message.decode(), numbers[0]


def _say(line: socket.socket, name: str, number: int | None) -> None:
    if number is None:
        line.send(b"drop " + name.encode())
    else:
        socket.send_fds(line, [b"keep " + name.encode()], [number])


def _name(app: str, address: Address) -> str:
    return f"{app} {address.host} {address.port}"


def _meaning(name: str) -> tuple[str, Address]:
    app, host, port = name.split(" ")
    return app, Address(host=host, port=int(port))
