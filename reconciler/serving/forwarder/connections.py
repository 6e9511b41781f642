"""Accept connections at an app's listeners and pass each on to the program, until it is told to let them go.

A connection is accepted only once there is one to the program: whatever happens to the program before that, the client
waits in the listener's backlog for the next instance. A program that is killed closes its connections before its own
listener, so that for an instant a client who tries again would be passed on to it: where it ends a connection that is
not finished, no client is accepted unless it is known to live.

Servers believe what a proxy at 127.0.0.1 says of its client. So only connections of the proxy reach a program from
there, or those of this host, where the proxy cannot be told from them.
"""

import contextlib
import errno
import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from reconciler.linux.readiness import Readiness
from reconciler.serving.forwarder.endpoints import Endpoint
from reconciler.serving.forwarder.pair import Pair

if TYPE_CHECKING:
    from reconciler.serving.gate_figures import Figures

_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_AGAIN_S = 0.05
_SPARE_S = 1.0
_AT_ONCE = 256
_ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


class Connections:
    """Every connection of an instance. `closing` has each answer from now on be the last of its connection."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        endpoint: Endpoint,
        figures: "Figures | None",
        is_ending: Callable[[], bool],
    ) -> None:
        """Pass no client on to a program that `is_ending`, which is asked when it breaks a connection off."""
        self.closing = False
        self._is_ending = is_ending
        self._listeners = {listener.fileno(): listener for listener in listeners}
        self._endpoint = endpoint
        self._figures = figures
        self._epoll = Readiness()
        self._pairs: dict[int, tuple[Pair, int]] = {}
        self._others: dict[int, Callable[[], None]] = {}
        self._lingering: set[Pair] = set()
        self._spare: tuple[socket.socket, float, bool] | None = None
        self._accept_at: float | None = None
        self._accepts = False
        self._has_socket = any(listener.family == socket.AF_UNIX for listener in listeners)
        for listener in listeners:
            listener.setblocking(False)

    def watch(self, number: int, called: Callable[[], None]) -> None:
        """Call this whenever a descriptor is readable."""
        self._others[number] = called
        self._epoll.register(number, select.EPOLLIN)

    def unwatch(self, number: int) -> None:
        """Wait for this descriptor no longer."""
        del self._others[number]
        self._epoll.unregister(number)

    def begin(self) -> None:
        """Accept from now on."""
        if not self._accepts:
            self._accepts, self._accept_at = True, None
            for number in self._listeners:
                self._epoll.register(number, select.EPOLLIN)

    def stop(self) -> None:
        """Accept no more; those that were accepted go on."""
        self._accept_at = None
        self._pause()
        self._drop_spare()
        self.closing = True

    def pairs(self) -> list[Pair]:
        """Return the connections that are open."""
        return list({id(pair): pair for pair, _ in self._pairs.values()}.values())

    def step(self, at_most_s: float | None) -> None:
        """Wait until something can be done, or so long, and do it."""
        waiting = []
        for number, events in self._epoll.poll(self._patience(at_most_s), _AT_ONCE):
            if number in self._listeners:
                waiting.append(self._listeners[number])
            elif number in self._others:
                self._others[number]()
            elif number in self._pairs:
                self._move(*self._pairs[number], events)
        for listener in waiting:
            if self._accepts:
                self._accept(listener)
        if self._accept_at is not None and time.monotonic() >= self._accept_at:
            self.begin()
        if self._lingering:
            self._end_lingering()

    def _patience(self, at_most_s: float | None) -> float | None:
        """Return after how long there is something to do by itself, None for never."""
        waits = [] if at_most_s is None else [at_most_s]
        if self._accept_at is not None:
            waits.append(max(0.0, self._accept_at - time.monotonic()))
        if self._lingering:
            waits.append(1.0)
        return min(waits, default=None)

    def _move(self, pair: Pair, side: int, events: int) -> None:
        if side == 1 and events & _ENDED and not pair.answers.last and self._accepts and self._is_ending():
            self._later()
        numbers = [each.fileno() for each in pair.sides]
        pair.ready(side, events, closing=self.closing)
        self._follow(pair, numbers)

    def let_go(self, pair: Pair) -> None:
        """Close a connection on which no client waits."""
        numbers = [each.fileno() for each in pair.sides]
        pair.finish()
        self._follow(pair, numbers)

    def close(self) -> None:
        """Close what is still open; who was not told everything notices."""
        for pair in self.pairs():
            pair.close(broken=pair.is_unfinished())

    def _follow(self, pair: Pair, numbers: list[int]) -> None:
        if pair.over:
            for number in numbers:
                self._pairs.pop(number, None)
            self._lingering.discard(pair)
        elif pair.until is not None:
            self._lingering.add(pair)

    def _end_lingering(self) -> None:
        now = time.monotonic()
        for pair in [each for each in self._lingering if each.until is not None and each.until <= now]:
            numbers = [each.fileno() for each in pair.sides]
            pair.close()
            self._follow(pair, numbers)

    def _accept(self, listener: socket.socket) -> None:
        believed = self._is_believed(listener, listener.getsockname())
        program = self._to_program(believed=believed)
        if program is None:
            self._later()
            return
        try:
            client, peer = listener.accept()
        except OSError as error:
            self._drop_spare()
            self._spare = program, time.monotonic(), believed
            if error.errno in _EXHAUSTED:
                self._drop_spare()
                self._later()
            return
        # A client of this host at a listener of every address may be the proxy, as one at 127.0.0.1 may.
        if not believed and self._is_believed(listener, peer) and (other := self._connected(believed=True)):
            program.close()
            program = other
        client.setblocking(False)
        for each in (client, program):
            with contextlib.suppress(OSError):  # a unix socket has no such option
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = Pair(client, program, self._epoll, self._figures)
        self._pairs[client.fileno()] = pair, 0
        self._pairs[program.fileno()] = pair, 1

    def _is_believed(self, listener: socket.socket, address: str | tuple[str, int]) -> bool:
        """Return whether a program may believe clients that come from an address, or to it, at a listener."""
        if listener.family == socket.AF_UNIX:
            return True
        return not self._has_socket and _is_loopback(address[0])

    def _to_program(self, *, believed: bool) -> socket.socket | None:
        """Return a connection to the program: first one whose client another instance got."""
        if self._spare is not None:
            spare, made_at, was_believed = self._spare
            if was_believed == believed and time.monotonic() - made_at < _SPARE_S and _is_open(spare):
                self._spare = None
                return spare
            self._drop_spare()
        return self._connected(believed=believed)

    def _connected(self, *, believed: bool) -> socket.socket | None:
        try:
            return self._endpoint.connect(believed=believed)
        except OSError:  # no descriptor is left
            return None

    def _drop_spare(self) -> None:
        if self._spare is not None:
            self._spare[0].close()
            self._spare = None

    def _later(self) -> None:
        self._pause()
        self._accept_at = time.monotonic() + _AGAIN_S

    def _pause(self) -> None:
        if self._accepts:
            self._accepts = False
            for number in self._listeners:
                self._epoll.unregister(number)


def _is_open(program: socket.socket) -> bool:
    try:
        return bool(program.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False


def _is_loopback(host: str) -> bool:
    host = host.removeprefix("::ffff:")
    return host.startswith("127.") or host == "::1"


def figures_of(directory: str) -> "Figures | None":
    """Return what counts the requests of this process in a directory; None on a full disk."""
    from reconciler.serving.gate_figures import Figures

    try:
        return Figures(directory, time.monotonic)
    except OSError:
        return None
