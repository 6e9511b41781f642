"""Reach the target of the log drain: a datagram socket or a file.

Each is opened when it is first needed and again after a failure, and waited for only briefly, in the drain's thread.
"""

import contextlib
import errno
import os
import select
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from reconciler.daemon.drains.formats import Entry, Format, as_journal, as_line, as_rfc5424, as_syslog, cut
from reconciler.linux.daemon_threads import DaemonThreads
from reconciler.linux.regular_files import append_only_to
from reconciler.linux.unix_sockets import connected
from reconciler.serving import logs
from reconciler.settings.settings import Drain

_SYSLOG = Path("/dev/log")
_JOURNAL = Path("/run/systemd/journal/socket")
_MOST_TO_SYSLOG = 8 * 1024
_MOST_BY_UDP = 2048  # what every receiver should take: RFC 5426, 3.2
_MOST_TO_JOURNAL = 64 * 1024
_LEAST = 256
_WAIT_MS = 100
_RENEWED_EVERY_S = 300.0
_LOOKED_UP_WITHIN_S = 1.0

_Address: TypeAlias = tuple[Any, ...]


class Target(Protocol):
    """Takes lines of logs. `may_lose` says that a line may be lost without an error until the next is sent."""

    may_lose: bool

    def format(self, entry: Entry) -> bytes:
        """Return a line as it is sent."""

    def send(self, line: bytes) -> None:
        """Send a line, whole or not at all. Raises OSError."""

    def check(self) -> None:
        """Raise OSError if something is known to be wrong with what was sent."""

    def close(self) -> None:
        """Close it; it opens again when a line is sent."""


class Datagrams:
    """Sends each line as one datagram; `connect` returns a connected socket. What is too long is cut and marked.

    The socket of a target that may lose lines is connected again every `renewed_every_s`: the target's name may lead
    to another address by then.
    """

    def __init__(
        self,
        connect: Callable[[], socket.socket],
        write: Format,
        *,
        most_bytes: int,
        may_lose: bool = False,
        renewed_every_s: float = _RENEWED_EVERY_S,
    ) -> None:
        self.may_lose = may_lose
        self._connect = connect
        self._write = write
        self._most_bytes = most_bytes
        self._renewed_every_s = renewed_every_s
        self._connected_at = 0.0
        self._socket: socket.socket | None = None

    def format(self, entry: Entry) -> bytes:
        """Return a datagram."""
        return cut(self._write(entry), self._most_bytes)

    def send(self, line: bytes) -> None:
        """Send a datagram; once more over a new socket if the target has been started again meanwhile."""
        was_open = self._socket is not None
        try:
            self._send(line)
        except OSError as error:
            if isinstance(error, BlockingIOError) or error.errno == errno.ENOBUFS:
                raise
            self.close()
            if not was_open or self.may_lose:
                raise
            self._send(line)

    def check(self) -> None:
        """Raise what the network said of earlier datagrams: that the port is closed (ICMP)."""
        number = 0 if self._socket is None else self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self.close()
            raise OSError(number, os.strerror(number))
        if self.may_lose and self._socket is not None and time.monotonic() - self._connected_at > self._renewed_every_s:
            with contextlib.suppress(OSError):  # what it is connected to may be right still
                self._open()

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open(self) -> socket.socket:
        self._connected_at = time.monotonic()
        connected = self._connect()
        connected.setblocking(False)
        self.close()
        self._socket = connected
        return connected

    def _send(self, line: bytes) -> None:
        opened = self._socket or self._open()
        has_waited = False
        while True:
            try:
                opened.send(line)
            except BlockingIOError:
                if has_waited:
                    raise
                has_waited = True
                waiting = select.poll()
                waiting.register(opened, select.POLLOUT)
                waiting.poll(_WAIT_MS)
            except OSError as error:
                if error.errno != errno.EMSGSIZE or len(line) <= _LEAST:
                    raise
                line = cut(line, len(line) // 2)
            else:
                return


class FileTarget:
    """Appends lines to one file, mode 0600, which it rotates as an app's log."""

    may_lose = False

    def __init__(self, file: Path, *, limit_bytes: int, keep: int) -> None:
        self._file = file
        self._limit_bytes = limit_bytes
        self._keep = keep
        self._opened: int | None = None
        self._size = 0

    def format(self, entry: Entry) -> bytes:
        """Return a line with its line break."""
        return as_line(entry)

    def send(self, line: bytes) -> None:
        """Append a line; one of which only a part fits on the disk is cut off again."""
        if self._opened is None:
            self._opened = append_only_to(self._file)
            self._size = os.fstat(self._opened).st_size
        if self._size and self._size + len(line) > self._limit_bytes:
            self._rotate()
        written = os.write(self._opened, line)
        if written < len(line):
            os.ftruncate(self._opened, max(0, os.fstat(self._opened).st_size - written))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written

    def check(self) -> None:
        """Open the file again if another program has moved or removed it."""
        if self._opened is None:
            return
        here = os.fstat(self._opened)
        with contextlib.suppress(OSError):
            there = self._file.lstat()
            if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
                self._size = here.st_size
                return
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._opened is not None:
            os.close(self._opened)
            self._opened = None

    def _rotate(self) -> None:
        logs.rotate(self._file, 0, self._keep)
        self.close()
        self._opened, self._size = append_only_to(self._file), 0


class _LogServer:
    """A port of a host by its name, which is looked up in a thread: that may take longer than a look should last."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._thread = DaemonThreads("resolve", 1)
        self._asked: Future[_Address] | None = None

    def connected(self) -> socket.socket:
        """Return a socket that sends datagrams there. Raises OSError, also while the name is being looked up."""
        asked = self._asked or self._thread.run(partial(_looked_up, self._host, self._port))
        if not wait((asked,), _LOOKED_UP_WITHIN_S).done:
            self._asked = asked
            raise OSError(errno.ETIMEDOUT, f"the address of {self._host} is still being looked up")
        self._asked = None
        family, kind, protocol, _, address = asked.result()
        connected = socket.socket(family, kind, protocol)
        try:
            connected.connect(address)
        except BaseException:
            connected.close()
            raise
        return connected


def _looked_up(host: str, port: int) -> _Address:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    except UnicodeError as error:
        raise OSError(errno.EINVAL, f"{host} is no name of a host") from error


def target_of(drain: Drain, *, limit_bytes: int, keep: int, syslog: Path = _SYSLOG, journal: Path = _JOURNAL) -> Target:
    """Return the target of a drain; `syslog` and `journal` are where this host's sockets are."""
    if drain.to == "syslog":
        return Datagrams(lambda: _unix(syslog), as_syslog, most_bytes=_MOST_TO_SYSLOG)
    if drain.to == "journald":
        return Datagrams(lambda: _unix(journal), as_journal, most_bytes=_MOST_TO_JOURNAL)
    if drain.to.startswith("file:"):
        return FileTarget(Path(drain.to.removeprefix("file:")), limit_bytes=limit_bytes, keep=keep)
    write = as_rfc5424(socket.gethostname())
    return Datagrams(_LogServer(*drain.address).connected, write, most_bytes=_MOST_BY_UDP, may_lose=True)


def _unix(path: Path) -> socket.socket:
    return connected(path, socket.SOCK_DGRAM, 0.0)
