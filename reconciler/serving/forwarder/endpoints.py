"""Private addresses at which a program listens for its forwarder: no client reaches one but through the forwarder.

Each kind says what the program is given (variables, a descriptor), whether it listens by now, and connects to it.
"""

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from reconciler.linux.proc_files import read_proc

_BACKLOG = 2048
_LONGEST_PATH = 107  # of a unix socket, in bytes
_LOOPBACK = "127.0.0.1"
_UNBELIEVED = "127.0.0.2"
_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h: a port is chosen by the connection, of which a pair of addresses has many
_LISTENS = "0A"  # TCP_LISTEN of <net/tcp_states.h>
_LOOPBACK_IN_TABLE = socket.inet_aton(_LOOPBACK)[:: -1 if sys.byteorder == "little" else 1].hex().upper()
_PREFIX = "socket-"


class Endpoint(Protocol):
    """One way to reach a program. `descriptor` is the socket that it inherits as descriptor 3, None for none."""

    variables: Mapping[str, str]
    descriptor: socket.socket | None

    def absent(self) -> str:
        """Return why the program cannot be asked yet, "" once it listens."""

    def connect(self, *, believed: bool = True) -> socket.socket | None:
        """Return a connection that is about to be there, without blocking; None if that is impossible now.

        Unless it is to be `believed`, its address is one of the loopback interface from which no server takes the word
        of a proxy by itself, as many do from 127.0.0.1; at a unix socket there is no address.
        """

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

    def connect(self, *, believed: bool = True) -> socket.socket | None:
        return _connected(socket.AF_INET, self._address, "" if believed else _UNBELIEVED)

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
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)  # noqa: PTH108  a text; of a forwarder that had this pid before
        if len(os.fsencode(self._path)) > _LONGEST_PATH:
            raise OSError(errno.ENAMETOOLONG, "the state directory's path is too long for a unix socket in it")
        self.variables: Mapping[str, str] = {"SOCKET": self._path}

    def absent(self) -> str:
        return "" if os.path.exists(self._path) else "it has not opened $SOCKET yet"  # noqa: PTH110  asked often

    def connect(self, *, believed: bool = True) -> socket.socket | None:  # noqa: ARG002  there is but one way
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
            waits = f"it does not listen at $PORT, {self._port}, yet"
            return f"{waits}, but at port {others[0]}" if (others := _ports_of_ours()) else waits
        if not any(_is_ours(inode) for inode in found.values()):
            return f"another program listens at port {self._port}, or it runs in the background"
        return ""

    def connect(self, *, believed: bool = True) -> socket.socket | None:
        return _connected(socket.AF_INET, (_LOOPBACK, self._port), "" if believed else _UNBELIEVED)

    def queue(self) -> int:
        return 0

    def remark(self) -> str:
        if all(address == _LOOPBACK_IN_TABLE for address in self._listening()):
            return ""
        return (
            f"it listens at port {self._port} of every address of this host, past the daemon's listener:"
            " have it listen at $HOST"
        )

    def close(self) -> None:
        pass

    def _listening(self) -> dict[str, str]:
        """Return the inode of each socket that listens at the port, by its address as the kernel writes it."""
        return {address: inode for address, port, inode in _listeners() if port == self._port}


def endpoint_of(listen: str, directory: Path, scratch: Path) -> Endpoint:
    """Return an endpoint; `directory` is the instance's own, `scratch` one with a short path. Raises OSError."""
    if listen == "descriptor":
        return Descriptor()
    return UnixSocket(directory, scratch) if listen == "socket" else Port()


def _connected(family: int, address: str | tuple[str, int], source: str = "") -> socket.socket | None:
    opened = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if source:
            opened.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            opened.bind((source, 0))
        opened.connect(address)
    except BlockingIOError:
        if family == socket.AF_INET and not opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return opened  # the kernel is at it
        opened.close()  # its queue is full, or nothing listens
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


def _listeners() -> Iterator[tuple[str, int, str]]:
    """Yield each socket that listens at a port: its address as the kernel writes it, the port and the inode."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in read_proc(f"/proc/self/net/{table}").splitlines()[1:]:
                fields = line.split()
                address, _, port = fields[1].partition(":")
                if fields[3] == _LISTENS:
                    yield address, int(port, 16), fields[9]


def _is_ours(inode: str) -> bool:
    """Return whether a process of this instance's group has a socket open."""
    return any(f"socket:[{inode}]" == link for _, link in _open_in_group())


def _ports_of_ours() -> list[int]:
    """Return the ports at which the program listens; the listeners of the app, which this process has, are none."""
    links = set[str]()
    inherited = set[str]()
    for pid, link in _open_in_group():
        (inherited if pid == os.getpid() else links).add(link)
    return sorted({port for _, port, inode in _listeners() if f"socket:[{inode}]" in links - inherited})


def _open_in_group() -> Iterator[tuple[int, str]]:
    """Yield what each process of this instance's group has open, with its pid."""
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal() and _group_of(entry.name) == os.getpgrp():
            with contextlib.suppress(OSError):
                for number in os.scandir(f"/proc/{entry.name}/fd"):
                    with contextlib.suppress(OSError):
                        yield int(entry.name), os.readlink(number.path)  # noqa: PTH115  very many, and no paths


def _group_of(pid: str) -> int:
    """Return the process group of a process, 0 if it is gone (proc(5), field 5 of stat)."""
    with contextlib.suppress(OSError):
        return int(read_proc(f"/proc/{pid}/stat").rpartition(")")[2].split()[2])
    return 0
