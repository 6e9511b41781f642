"""Pass the connections at a listener that is about to close on to the listener that takes its place.

An app that passes from a port to a unix socket, or back, has clients at both until the proxy dials the new one. From
one port to another, the kernel prefers the narrower of two listeners: clients of 127.0.0.1 go on to the old one while
0.0.0.0 is open beside it, and would be reset when it closes. Only clients on this host are passed on there, from their
own address, so that the app sees the same clients as before.
"""

import asyncio
import contextlib
import socket
from functools import partial
from pathlib import Path

from reconciler.linux.passed_files import connected_in_turn
from reconciler.planning.address import Address
from reconciler.serving.accepting import Accepting

_CHUNK = 64 * 1024
_CONNECT_S = 5.0
_EVERYWHERE = "0.0.0.0"


class Relay:
    """Passes connections on from construction until `close`; those under way are finished.

    `back`: to the very address at which each was reached, where another socket listens; from any client. `passed`
    counts them.
    """

    def __init__(self, listener: socket.socket, successor: Address, *, back: bool = False) -> None:
        self._successor = successor
        self._back = back
        self.passed = 0
        self._loop = asyncio.get_running_loop()
        self._passing: set[asyncio.Task[None]] = set()
        self._accepting = Accepting(listener, self._begin)
        self._accepting.begin()

    def close(self) -> None:
        """Pass on what has connected until now, and accept no more."""
        self._accepting.end()

    def _begin(self, connection: socket.socket) -> None:
        self.passed += 1
        task = self._loop.create_task(self._pass_on(connection))
        self._passing.add(task)
        # Whatever becomes of it: a task that is cancelled before its first step never gets to close anything.
        task.add_done_callback(partial(self._passed, connection))

    def _passed(self, connection: socket.socket, task: "asyncio.Task[None]") -> None:
        self._passing.discard(task)
        connection.close()

    async def _pass_on(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            peer = connection.getpeername()
            async with asyncio.timeout(_CONNECT_S):
                onward = await self._connected(connection, peer[0] if peer else "")
            if onward is None:
                return
            with onward:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._copy(connection, onward))
                    both.create_task(self._copy(onward, connection))

    async def _connected(self, connection: socket.socket, client: str) -> socket.socket | None:
        """Return a connection to the successor; None if that is not reached where the client came to."""
        successor = self._successor
        if successor.path:
            return await connected_in_turn(Path(successor.path))
        is_at_port = connection.family != socket.AF_UNIX
        target = self._target(connection.getsockname()[0]) if is_at_port else successor.reached_at
        if target is None:
            return None
        onward = socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET)
        try:
            onward.setblocking(False)
            with contextlib.suppress(OSError) if self._back else contextlib.nullcontext():
                if is_at_port:
                    onward.bind((client, 0))
            await self._loop.sock_connect(onward, (target, successor.port))
        except BaseException:
            onward.close()
            raise
        return onward

    def _target(self, reached: str) -> str | None:
        """Return where the successor is reached for a client that reached this address; None if it is not."""
        if self._back:
            return reached
        if self._successor.ip == _EVERYWHERE:
            return "127.0.0.2" if reached == "127.0.0.1" else "127.0.0.1"
        return reached if reached == self._successor.ip else None

    async def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := await self._loop.sock_recv(source, _CHUNK):
                await self._loop.sock_sendall(target, chunk)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
