"""Read and close unix sockets to which an app may send open files (SCM_RIGHTS, unix(7)), and wait for none of them.

Who takes a message off its queue and does not ask for its files closes them, as does who closes the socket, and the
last close of a file may wait for as long as the sender likes: a connection with SO_LINGER does. So each message is
looked at first, which leaves the queue a reference of its own, and one with files is closed in a thread. From Linux
6.16 on, none comes: the sender is refused.
"""

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

from reconciler.linux.daemon_threads import DaemonThreads
from reconciler.linux.unix_sockets import reachable, refuse_files

_MOST_THREADS = 64
_AGAIN_S = 1.0
_MOST_CLOSING = 16
_MOST_LOOKS, _CHUNK = 1024, 1 << 16
_ROOM_AGAIN_S = 0.05
_LOOK: Final = socket.MSG_PEEK | socket.MSG_DONTWAIT

_threads = DaemonThreads("close", _MOST_THREADS, kept_s=1.0)
_for_listeners = DaemonThreads("close listener", _MOST_THREADS, kept_s=1.0)


class FilesSent(ConnectionError):
    """The other end of a connection sent open files, of which this one has no use."""

    def __init__(self) -> None:
        super().__init__(errno.EPROTO, "it sent open files")


class Aside:
    """Does what may wait for one sender, one thing after another in a thread; `then` is called on the loop.

    However many senders make theirs wait, they have so many threads in all: what is beyond that begins later.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], object], Callable[[], object]]] = deque()
        self.pending = 0

    def run(self, work: Callable[[], object], then: Callable[[], object] = lambda: None) -> None:
        """Have this done; `then` follows whether `work` raises or not."""
        self._waiting.append((work, then))
        self.pending += 1
        if self.pending == 1:
            self._next()

    def _next(self) -> None:
        loop = asyncio.get_running_loop()
        work, then = self._waiting[0]

        def told(_: object) -> None:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self._done, then)

        try:
            future = _threads.run(work)
        except RuntimeError:  # no thread can be started now
            loop.call_later(_AGAIN_S, self._next)
            return
        self._waiting.popleft()
        future.add_done_callback(told)

    def _done(self, then: Callable[[], object]) -> None:
        self.pending -= 1
        if self.pending:
            self._next()
        then()


_by_name: WeakValueDictionary[str, Aside] = WeakValueDictionary()


def aside_for(name: str) -> Aside:
    """Return the one for all that concerns the sender of this name."""
    return _by_name.setdefault(name, Aside())


def looked_at(opened: socket.socket, most: int) -> tuple[bytes, bool]:
    """Return what would be received next, and whether files come with it. Raises OSError."""
    text, _, flags, _ = opened.recvmsg(most, 0, _LOOK)  # with no room for files, none of them is opened here
    return text, bool(flags & socket.MSG_CTRUNC)


def close_aside(
    opened: socket.socket, aside: Aside, close: Callable[[], object], then: Callable[[], object] = lambda: None
) -> None:
    """Close a socket by `close`: in a thread if there are files in its queue."""
    with suppress(OSError):
        opened.shutdown(socket.SHUT_RD)  # nothing is added from now on
    if _is_emptied(opened):
        close()
        then()
    else:
        aside.run(close, then)


def close_in_thread(opened: socket.socket) -> None:
    """Close a listener: in the queues of the connections that wait there, which close with it, there may be files."""
    try:
        _for_listeners.run(opened.close)
    except RuntimeError:  # no thread can be started now
        asyncio.get_running_loop().call_later(_AGAIN_S, close_in_thread, opened)


def close_then(opened: socket.socket, then: Callable[[], object]) -> None:
    """Close a connection, and call `then` once it is closed."""
    if isinstance(opened, AppStream):
        opened.close_then(then)
    else:
        opened.close()
        then()


def _is_emptied(opened: socket.socket) -> bool:
    """Take what came without files; return whether that was all."""
    is_stream = opened.type == socket.SOCK_STREAM
    try:
        for _ in range(_MOST_LOOKS):
            text, has_files = looked_at(opened, _CHUNK)
            if has_files:
                return False
            if is_stream and not text:
                return True
            socket.socket.recv(opened, len(text) if is_stream else 1)
    except BlockingIOError:
        return not is_stream
    except OSError as error:
        return error.errno in (errno.EINVAL, errno.ECONNRESET)  # never connected, or reset after what was read
    return False


class AppStream(socket.socket):
    """A stream at whose other end is an app: raises FilesSent where it sent files, and waits for none of them.

    It never blocks.
    """

    def __init__(self, aside: Aside, number: int | None = None) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM, fileno=number)
        self._aside = aside
        self._is_closing = False
        self.setblocking(False)
        refuse_files(self)
        # A byte out of band is passed over by a look and dropped by a read, with its files; among the others it is not.
        self.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Receive what came without files. Raises FilesSent where some come with it."""
        text, has_files = looked_at(self, bufsize)
        if has_files:
            raise FilesSent
        return super().recv(len(text), flags) if text else b""

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Receive into a buffer as `recv` does."""
        text = self.recv(nbytes or len(buffer), flags)
        buffer[: len(text)] = text
        return len(text)

    def close(self) -> None:
        """Close it: in a thread if there are files that were not received."""
        self.close_then(lambda: None)

    def close_then(self, then: Callable[[], object]) -> None:
        """Close it, and call `then` on the loop once it is closed."""
        if not self._is_closing:
            self._is_closing = True
            close_aside(self, self._aside, super().close, then)


async def connected_in_turn(path: Path) -> AppStream:
    """Return a stream connected to an app at a path, once there is room in its queue. Raises OSError.

    Of connections that the app does not let close, there are only so many.
    """
    aside = aside_for(os.fspath(path))
    while True:
        if aside.pending < _MOST_CLOSING:
            opened = AppStream(aside)
            try:
                with reachable(path) as short:
                    opened.connect(short)
            except BlockingIOError:  # nothing tells when there is room
                opened.close()
            except BaseException:
                opened.close()
                raise
            else:
                return opened
        await asyncio.sleep(_ROOM_AGAIN_S)
