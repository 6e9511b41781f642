"""Ask a program whether it is ready: its health path, or, without one, that it accepts connections."""

import select
import socket
import time

from reconciler.serving.forwarder.endpoints import Endpoint
from reconciler.serving.forwarder.gate import Gate, Refused

_ENOUGH = 4096
_LOOK_S = 0.02
_ENDED = "it ended"


def ask(gate: Gate, endpoint: Endpoint, ends: int) -> None:
    """Ask once. Raises Refused with the reason if the program is not ready.

    `ends` is a descriptor that is readable once the program has ended: its listener may be open all the same.
    """
    absent = endpoint.absent()
    if absent:
        raise Refused(absent)
    connection = endpoint.connect()
    if connection is None:
        raise Refused("it refuses connections")
    with connection:
        began = time.monotonic()
        until = began + gate.patience_s()
        connection.settimeout(gate.patience_s())
        try:
            if gate.path is None:
                _accepted(connection, endpoint, ends, until)
            else:
                status, body = _answer(gate, _Listened(connection, ends, until))
                gate.judge(status, body)
        except TimeoutError:
            raise Refused(gate.late() if gate.path else "it accepts no connection") from None
        except OSError as error:
            raise Refused(f"it closed the connection: {error.strerror or error}") from None
        if gate.path is not None:
            gate.check_time(time.monotonic() - began)


def _accepted(connection: socket.socket, endpoint: Endpoint, ends: int, until: float) -> None:
    """Wait until the program has taken the connection, where that can be seen. Raises TimeoutError, OSError."""
    connection.send(b"")  # or the error that connecting ended with
    while endpoint.queue():
        if time.monotonic() > until:
            raise TimeoutError
        if select.select([ends], [], [], _LOOK_S)[0]:
            raise Refused(_ENDED)
    if error := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(error, "it refuses connections")


def _answer(gate: Gate, connection: "_Listened") -> tuple[str, bytes]:
    """Return the status line, without the version, and the first part of the body. Raises OSError, Refused."""
    request = (
        f"GET {gate.path} HTTP/1.1\r\nHost: {gate.host}\r\nUser-Agent: reconciler-health\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n"
    )
    connection.connection.sendall(request.encode("ascii", "replace"))
    said = b""
    while len(said) < _ENOUGH:
        try:
            more = connection.more()
        except TimeoutError:
            if b"\r\n\r\n" not in said:
                raise
            break  # it keeps the connection, though it was asked not to
        if not more:
            break
        said += more
        if b"\r\n\r\n" in said and said.split(b" ", 2)[1:2] and said.split(b" ", 2)[1].startswith(b"2"):
            break
    line, _, rest = said.partition(b"\r\n")
    version, _, status = line.decode("latin-1").partition(" ")
    if not version.startswith("HTTP/"):
        raise Refused(f"GET {gate.path} was not answered in HTTP")
    return status.strip(), rest.partition(b"\r\n\r\n")[2]


class _Listened:
    """A connection that is read for as long as the program lives, until a moment."""

    def __init__(self, connection: socket.socket, ends: int, until: float) -> None:
        self.connection = connection
        self.ends = ends
        self.until = until

    def more(self) -> bytes:
        """Return what has come next. Raises TimeoutError, OSError, and Refused if the program has ended."""
        left_s = max(0.0, self.until - time.monotonic())
        ready, _, _ = select.select([self.connection.fileno(), self.ends], [], [], left_s)
        if self.connection.fileno() in ready:
            return self.connection.recv(_ENOUGH)
        if ready:
            raise Refused(_ENDED)
        raise TimeoutError
