"""Answer 503 with a holding page at a listener that no instance serves.

The daemon or an instance accepts a connection, never both. The number of connections, the time of each and the size of
a request are bounded, so that slow clients cost little, and convergence nothing.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from reconciler.linux.daemon_threads import DaemonThreads
from reconciler.linux.named_files import read_named
from reconciler.linux.package_files import package_directory
from reconciler.linux.passed_files import close_then
from reconciler.serving.accepting import Accepting

_AT_ONCE = 128
_PATIENCE_S = 5.0
_MOST_OF_A_REQUEST = 16 * 1024
_MOST_OF_A_PAGE = 512 * 1024
_RETRY_AFTER_S = 5
_LOOK_S = 1.0
_UNREAD = (-1,)


# Of holding pages alone: one whose disk hangs keeps no other work.
_threads = DaemonThreads("holding", most=4, at_all=128)


class Holding:
    """The holding page at one listener, from construction until `close`."""

    def __init__(self, listener: socket.socket, page: str | None) -> None:
        self._stamp: tuple[int, ...] = _UNREAD
        self._page, self._answer = page, _answer_of(_plain())
        self._looking: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._answering: set[asyncio.Task[None]] = set()
        self._closed = False
        self._accepting = Accepting(listener, self._begin)
        self._accepting.begin()

    def show(self, page: str | None) -> None:
        """Answer with that file as it is at each request, None for the plain page."""
        if page != self._page:
            self._page, self._stamp, self._answer = page, _UNREAD, _answer_of(_plain())

    async def _look(self) -> None:
        """Read the page if it has changed: in a thread, and without waiting long, as its disk may hang."""
        if self._page is None:
            return
        with contextlib.suppress(TimeoutError, RuntimeError):  # no thread: with what is known
            if self._looking is None or self._looking.done():
                self._looking = asyncio.wrap_future(_threads.run(partial(self._read, self._page)))
            async with asyncio.timeout(_LOOK_S):
                await asyncio.shield(self._looking)

    def _read(self, page: str) -> None:
        stamp = _stamp(page)
        if stamp != self._stamp:
            answer = _answer_of(_content(page))
            if page == self._page:
                self._stamp, self._answer = stamp, answer

    def close(self) -> None:
        """Stop accepting; connections already accepted still get an answer."""
        self._accepting.stop()
        self._closed = True

    def _begin(self, connection: socket.socket) -> None:
        task = self._loop.create_task(self._serve(connection))
        self._answering.add(task)
        # Whatever becomes of it: a task that is cancelled before its first step never gets to close anything.
        task.add_done_callback(partial(self._answered, connection))
        if len(self._answering) >= _AT_ONCE:
            self._accepting.stop()

    def _answered(self, connection: socket.socket, task: "asyncio.Task[None]") -> None:
        close_then(connection, partial(self._gone, task))

    def _gone(self, task: "asyncio.Task[None]") -> None:
        self._answering.discard(task)
        if not self._closed:
            self._accepting.begin()

    async def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                head = await self._head(connection)
                await self._look()
                await self._loop.sock_sendall(connection, self._answer(head))
                connection.shutdown(socket.SHUT_WR)
                # Until the client has closed: closing on unread input would reset what was just sent.
                for _ in range(64):
                    if not await self._loop.sock_recv(connection, _MOST_OF_A_REQUEST):
                        break

    async def _head(self, connection: socket.socket) -> bytes:
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _MOST_OF_A_REQUEST:
            more = await self._loop.sock_recv(connection, 4096)
            if not more:
                break
            head += more
        return head


def _answer_of(body: bytes) -> Callable[[bytes], bytes]:
    head = (
        "HTTP/1.1 503 Service Unavailable\r\n"
        "Content-Type: text/html; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Retry-After: {_RETRY_AFTER_S}\r\n"
        "Cache-Control: no-store\r\n"
        "Connection: close\r\n"
        "\r\n"
    ).encode()
    return lambda request: head if request.startswith(b"HEAD ") else head + body


def _stamp(page: str) -> tuple[int, ...]:
    """Return what stat knows of a file's content, to be compared."""
    with contextlib.suppress(OSError):
        facts, named = Path(page).stat(), Path(page).lstat()  # whose link it is counts
        return facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino, named.st_ctime_ns, named.st_ino
    return ()


def _content(page: str) -> bytes:
    """Return the app's own page, or the plain one if that cannot be read, is too large or is not for everyone."""
    with contextlib.suppress(OSError):
        return read_named(page, _MOST_OF_A_PAGE, public=True)
    return _plain()


@cache
def _plain() -> bytes:
    """Return the plain page: read once, so that it is there when no file can be opened."""
    return (package_directory("reconciler.serving") / "holding.html").read_bytes()
