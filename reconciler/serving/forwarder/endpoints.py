"""Private addresses at which a program listens for its forwarder: no client reaches one but through the forwarder.

Each kind says what the program is given (variables, a descriptor), whether it listens by now, and connects to it.
"""

import contextlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from reconciler.linux.process_table import ListeningSocket, listening_sockets, pids, sockets_of
from reconciler.linux.processes import group_of

_BACKLOG = 2048
_LONGEST_PATH = 107  # of a unix socket, in bytes
_LOOPBACK = "127.0.0.1"
_PREFIX = "socket-"


class Endpoint(Protocol):
    """One way to reach a program. `descriptor` is the socket that it inherits as descriptor 3, None for none."""

    variables: Mapping[str, str]
    descriptor: socket.socket | None

    def absent(self) -> str:
        """Return why the program cannot be asked yet, "" once it listens."""

    def connect(self) -> socket.socket | None:
        """Return a connection that is about to be there, without blocking; None if that is impossible now."""

    def queue(self) -> int:
        """Return how many connections the program has yet to accept, 0 where that cannot be seen."""

    def remark(self) -> str:
        """Return what an operator should know of how the program listens, "" for nothing."""

    def close(self) -> None:
        """Remove what it left on disk."""


class Descriptor:
    """A listening socket that the program inherits, as systemd's socket activation hands one over."""

    def __init__(self) -> None:
        self.descriptor: socket.socket | None = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.descriptor.bind((_LOOPBACK, 0))
        self.descriptor.listen(_BACKLOG)
        self._address: tuple[str, int] = self.descriptor.getsockname()
        self.variables: Mapping[str, str] = {"LISTEN_FDS": "1"}

    def absent(self) -> str:
        return ""

    def connect(self) -> socket.socket | None:
        return _connected(socket.AF_INET, self._address)

    def queue(self) -> int:
        assert self.descriptor is not None
        # tcpi_unacked of a listener (linux/tcp.h): how many connections wait in its queue
        return int.from_bytes(self.descriptor.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 28)[24:28], "little")

    def remark(self) -> str:
        return ""

    def close(self) -> None:
        if self.descriptor is not None:
            self.descriptor.close()


class UnixSocket:
    """A socket at a path, which the program finds in $SOCKET and creates itself."""

    descriptor: socket.socket | None = None

    def __init__(self, directory: Path, scratch: Path) -> None:
        self._path = str(directory / "socket")
        if len(os.fsencode(self._path)) > _LONGEST_PATH:
            _remove_abandoned(scratch)
            self._path = str(scratch / f"{_PREFIX}{os.getpid()}")
        self.variables: Mapping[str, str] = {"SOCKET": self._path}

    def absent(self) -> str:
        return "" if os.path.exists(self._path) else "it has not opened $SOCKET yet"  # noqa: PTH110  asked often

    def connect(self) -> socket.socket | None:
        return _connected(socket.AF_UNIX, self._path)

    def queue(self) -> int:
        return 0

    def remark(self) -> str:
        return ""

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._path)  # noqa: PTH108  a text


class Port:
    """A port of the loopback interface, which the program finds in $PORT; $HOST says where to listen."""

    descriptor: socket.socket | None = None

    def __init__(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((_LOOPBACK, 0))
            self._port: int = probe.getsockname()[1]
        self.variables: Mapping[str, str] = {"PORT": str(self._port), "HOST": _LOOPBACK}

    def absent(self) -> str:
        found = self._listening()
        if not found:
            return f"it does not listen at $PORT, {self._port}, yet"
        ours = {inode for pid in pids() if group_of(pid) == os.getpgrp() for inode in sockets_of(pid).values()}
        if not any(each.inode in ours for each in found):
            return f"another program listens at port {self._port}, or it runs in the background"
        return ""

    def connect(self) -> socket.socket | None:
        return _connected(socket.AF_INET, (_LOOPBACK, self._port))

    def queue(self) -> int:
        return 0

    def remark(self) -> str:
        if all(each.host == _LOOPBACK for each in self._listening()):
            return ""
        return (
            f"it listens at port {self._port} of every address of this host, past the daemon's listener:"
            " have it listen at $HOST"
        )

    def close(self) -> None:
        pass

    def _listening(self) -> list[ListeningSocket]:
        return [each for each in listening_sockets() if each.port == self._port]


def endpoint_of(listen: str, directory: Path, scratch: Path) -> Endpoint:
    """Return an endpoint; `directory` is the instance's own, `scratch` one with a short path. Raises OSError."""
    if listen == "descriptor":
        return Descriptor()
    return UnixSocket(directory, scratch) if listen == "socket" else Port()


def _connected(family: int, address: str | tuple[str, int]) -> socket.socket | None:
    opened = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        opened.connect(address)
    except BlockingIOError:
        if family == socket.AF_INET:  # the kernel is at it
            return opened
        opened.close()  # its queue is full
        return None
    except OSError:
        opened.close()
        return None
    return opened


def _remove_abandoned(directory: Path) -> None:
    """Remove what forwarders left that were killed."""
    for found in directory.glob(f"{_PREFIX}*"):
        pid = found.name.removeprefix(_PREFIX)
        with contextlib.suppress(OSError):
            if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
                found.unlink()
