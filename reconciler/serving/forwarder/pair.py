"""Pass bytes between one client and the program, each way as fast as the other side takes them.

What either side closes is closed at the other once everything before it was passed on; a connection that the program
breaks off is broken off for the client as well, who would otherwise take a part of an answer for the whole.
"""

import contextlib
import select
import socket
import struct
import time
from typing import TYPE_CHECKING

from reconciler.serving.forwarder.answers import Answers

if TYPE_CHECKING:
    from reconciler.linux.readiness import Readiness
    from reconciler.serving.gate_figures import Figures

_CHUNK = 64 * 1024
_MOST_HELD = 256 * 1024
_LINGER_S = 5.0  # for a client to read the end of an answer, and to close
_QUIET_S = 1.0
_BREAK_OFF = struct.pack("ii", 1, 0)
_READ, _WRITE = select.EPOLLIN | select.EPOLLRDHUP, select.EPOLLOUT
_GONE = (select.EPOLLERR | select.EPOLLHUP) & ~select.EPOLLRDHUP


class Pair:
    """A client's connection and the program's. `over` is set once both are closed; `until` is when they are at last."""

    __slots__ = (
        "_began",
        "_ended",
        "_epoll",
        "_figures",
        "_held",
        "_interest",
        "_moved_at",
        "_moved_by",
        "answers",
        "over",
        "sides",
        "until",
    )

    def __init__(
        self, client: socket.socket, program: socket.socket, epoll: "Readiness", figures: "Figures | None"
    ) -> None:
        self.sides = (client, program)
        self.answers = Answers()
        self.over = False
        self.until: float | None = None
        self._epoll = epoll
        self._figures = figures
        self._began: float | None = None
        self._held = [bytearray(), bytearray()]  # on the way to each side
        self._ended = [False, False]  # what each side has no more to say
        self._interest = [_READ, _READ]
        self._moved_at = time.monotonic()
        self._moved_by = 0
        for side in self.sides:
            epoll.register(side.fileno(), _READ)

    def is_busy(self, now: float) -> bool:
        """Whether a client waits for an answer; where that cannot be told, whether it said the last word."""
        if self.answers.opaque:
            asks = self._moved_by == 0 and not self.answers.upgraded
            return asks or now - self._moved_at < _QUIET_S
        return self.answers.waits or bool(self._held[0])

    def is_unfinished(self) -> bool:
        """Whether the client has been told a part of an answer only, as far as that can be known."""
        return bool(self._held[0]) or (self.answers.waits and not self.answers.opaque)

    def ready(self, side: int, events: int, *, closing: bool) -> None:
        """Do what can be done now that one side (0 is the client, 1 the program) has these events."""
        if events & _WRITE:
            self._flush(side)
        if events & (_READ | _GONE) and not self.over and not self._ended[side]:
            self._pass_on(side, closing=closing)
        if not self.over:
            self._settle()

    def finish(self) -> None:
        """Tell both sides that nothing more will come, once what is held was passed on."""
        self._ended = [True, True]
        if not self.over:
            self._settle()

    def close(self, *, broken: bool = False) -> None:
        """Close both sides at once; with `broken`, so that they notice."""
        if self.over:
            return
        self.over = True
        if self._began is not None and self._figures is not None:
            self._figures.end(self._began, self.answers.status)
            self._began = None
        for side in self.sides:
            with contextlib.suppress(OSError):
                self._epoll.unregister(side.fileno())
            with contextlib.suppress(OSError):
                if broken:
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _BREAK_OFF)
            side.close()

    def _pass_on(self, side: int, *, closing: bool) -> None:
        other = 1 - side
        if len(self._held[other]) >= _MOST_HELD:
            return
        try:
            data = self.sides[side].recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            if side == 0 or self.answers.waits:
                self.close(broken=True)
                return
            data = b""  # it closed without reading everything, and its answer is complete
        if not data:
            self._ended[side] = True
            if side:
                self._send(0, self.answers.rest())
            return
        self._moved_at, self._moved_by = time.monotonic(), side
        if side == 0:
            self._count_question(data)
            self._send(1, data)
            return
        passed, completed = self.answers.answered(data, closing=closing)
        self._send(0, passed)
        if completed and not self.over:  # a client that has gone ends its connection meanwhile
            self._count_answers(completed)
            if self.answers.last:
                self.finish()

    def _count_question(self, data: bytes) -> None:
        if self.answers.asked(data) and self._figures is not None and not self.answers.is_probe:
            self._began = self._figures.begin()

    def _count_answers(self, completed: int) -> None:
        if self._figures is None or self.answers.is_probe:
            return
        for _ in range(completed):
            began = self._figures.begin() if self._began is None else self._began
            self._began = None
            self._figures.end(began, self.answers.status)

    def _send(self, to: int, data: bytes) -> None:
        held = self._held[to]
        if not data:
            return
        if not held:
            try:
                sent = self.sides[to].send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._refused(to)
                return
            data = data[sent:]
        held += data

    def _flush(self, to: int) -> None:
        held = self._held[to]
        try:
            if held:
                del held[: self.sides[to].send(held)]
        except BlockingIOError:
            pass
        except OSError:
            self._refused(to)

    def _refused(self, to: int) -> None:
        """Take it that a side reads no more: a program may have answered before it had everything."""
        self._held[to].clear()
        if to == 0:
            self.close(broken=True)
        elif not self._ended[0]:
            self._ended[0] = True
            self.until = time.monotonic() + _LINGER_S

    def _settle(self) -> None:
        """Close what is finished, and wait for what either side can do next."""
        for side in (0, 1):
            other = 1 - side
            if self._ended[side] and not self._held[other]:
                with contextlib.suppress(OSError):
                    self.sides[other].shutdown(socket.SHUT_WR)
                if side == 1 and self.until is None:
                    self.until = time.monotonic() + _LINGER_S
        if self._ended[1] and not self._held[0] and self._client_has_closed():
            self.close()
            return
        for side in (0, 1):
            reads = not self._ended[side] and len(self._held[1 - side]) < _MOST_HELD
            waits_for_end = side == 0 and self._ended[1] and not self._held[0]
            wanted = (_READ if reads or waits_for_end else 0) | (_WRITE if self._held[side] else 0)
            self._wait_for(side, wanted)

    def _wait_for(self, side: int, wanted: int) -> None:
        """Wait for these events of a side; where nothing is to be done, not even for its end, which lasts."""
        before, self._interest[side] = self._interest[side], wanted
        number = self.sides[side].fileno()
        if before and not wanted:
            self._epoll.unregister(number)
        elif wanted and not before:
            self._epoll.register(number, wanted)
        elif wanted != before:
            self._epoll.modify(number, wanted)

    def _client_has_closed(self) -> bool:
        """Read away what a client still sends once its answer is over: closing on it would reset the answer."""
        try:
            for _ in range(16):
                if not self.sides[0].recv(_CHUNK):
                    return True
        except BlockingIOError:
            return False
        except OSError:
            return True
        return False
