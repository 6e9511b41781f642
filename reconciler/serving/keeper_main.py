"""Hold listening sockets for a daemon that may die, and hand them to the next one.

A script, run as `python -I -S … keeper_main.py SECONDS` with its own listening socket as standard input. It imports
little, not even `socket`, for its memory is all it costs. A daemon that connects is sent `have NAME`, with the
descriptor, for each socket held, then `all`; it sends `keep NAME` with a descriptor, `drop NAME`, or `end`. The newest
connection counts. After SECONDS without one it ends, so that clients do not wait for ever at a host without a daemon.
"""

import _socket
import resource
import select
import sys
import time
from _thread import start_new_thread

_LONGEST = 8192
_INT = 4  # bytes of a descriptor in a message
_ANSWER_S = 10.0


def main(own: _socket.socket, patience_s: float) -> None:
    own.listen()  # again, in this process: a client that asks for its peer is told who called it last
    held: dict[str, int] = {}
    client: _socket.socket | None = None
    until = time.monotonic() + patience_s
    while client is not None or time.monotonic() < until:
        waited = select.poll()
        for each in (own, client):
            if each is not None:
                waited.register(each, select.POLLIN)
        left_s = patience_s if client is not None else max(0.0, until - time.monotonic())
        ready = {number for number, _ in waited.poll(left_s * 1000)}
        going = client
        if client is not None and client.fileno() in ready:  # its last message comes before the next one's first
            going = client if _heard(client, held) else None
        elif own.fileno() in ready:
            going = _accepted(own)
            going.settimeout(_ANSWER_S)
            _tell(going, held)
        if client is not None and going is not client:
            client.close()
            until = time.monotonic() + patience_s
        client = going


def _accepted(own: _socket.socket) -> _socket.socket:
    number, _ = own._accept()  # type: ignore[attr-defined]  # noqa: SLF001  `socket` adds no other way
    return _socket.socket(fileno=number)


def _tell(client: _socket.socket, held: dict[str, int]) -> None:
    """Send everything that is held. A daemon that reads no more may have sent something before it ended."""
    try:
        for name, number in held.items():
            rights = number.to_bytes(_INT, sys.byteorder)
            client.sendmsg([b"have " + name.encode()], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        client.sendall(b"all")
    except OSError:
        pass


def _heard(client: _socket.socket, held: dict[str, int]) -> bool:
    """Obey one message; return whether others may follow."""
    try:
        message, more, _, _ = client.recvmsg(_LONGEST, _socket.CMSG_LEN(_INT))
    except ConnectionResetError:  # it closed without reading everything; what it sent before that is still to be read
        return True
    except OSError:
        return False
    numbers = [
        int.from_bytes(content[:_INT], sys.byteorder)
        for level, kind, content in more
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS)
    ]
    word, _, name = message.decode().partition(" ")
    if word == "end":
        sys.exit()
    if word in ("keep", "drop") and name in held:
        _close(held.pop(name))
    if word == "keep" and numbers:
        held[name] = numbers[0]
    return bool(message)


def _close(number: int) -> None:
    """Close a listener without waiting for what an app may have made of it (SO_LINGER), or sent to it (SCM_RIGHTS)."""
    opened = _socket.socket(fileno=number)
    try:
        opened.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, bytes(2 * _INT))
    finally:
        if opened.family == _socket.AF_UNIX:
            start_new_thread(opened.close, ())
        else:
            opened.close()


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    main(_socket.socket(fileno=0), float(sys.argv[-1]))
