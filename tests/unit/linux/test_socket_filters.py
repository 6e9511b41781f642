"""A listener that ignores new connections loses none, in its queue or on the way to it."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from reconciler.linux.socket_filters import ignore_new_connections


@contextlib.contextmanager
def listening(host: str, port: int = 0) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((host, port))
        made.listen()
        made.settimeout(30.0)
        yield made


@pytest.mark.parametrize(("narrow", "wide"), [("127.0.0.1", "0.0.0.0"), ("::1", "::")])
def test_who_connects_while_a_listener_ends_reaches_the_wider_one_beside_it(narrow: str, wide: str) -> None:
    with (
        listening(narrow) as ending,
        listening(wide, ending.getsockname()[1]) as beside,
        socket.socket(ending.family) as early,
        socket.socket(ending.family) as late,
    ):
        early.connect(ending.getsockname())
        ignore_new_connections(ending)
        late.setblocking(False)
        late.connect_ex(ending.getsockname())
        accepted, _ = ending.accept()
        with accepted:
            accepted.sendall(b"early")
        ending.setblocking(False)
        with pytest.raises(BlockingIOError):
            ending.accept()
        ending.close()
        accepted, client = beside.accept()
        with accepted:
            assert client[:2] == late.getsockname()[:2]
        assert early.recv(5) == b"early"
