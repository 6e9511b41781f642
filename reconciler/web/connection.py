"""One connection to the API or the page: who is at the other end, and how long it may take for what.

A unix socket is for root and the daemon's own user, whatever its mode says. A client that is slow to ask, or slow to
read, is hung up on, and connections beyond a bound are closed at once, each listener having a bound of its own.
"""

import asyncio
import socket
from collections import Counter
from typing import ClassVar, Literal, TypeAlias, cast

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from reconciler.linux.unix_sockets import peer_name

Transport: TypeAlias = Literal["unix", "tcp"]

_MOST_AT_A_DOOR = 200
_ASK_WITHIN_S = 10.0
_READ_WITHIN_S = 30.0


class Connection(H11Protocol):
    """uvicorn's, with bounds. The application finds `door` and `peer` (a user's name, or None) in the state."""

    open_at: ClassVar[Counter[Transport]] = Counter()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        connected = transport.get_extra_info("socket")
        self._door: Transport = "unix" if connected.family == socket.AF_UNIX else "tcp"
        peer = peer_name(connected) if self._door == "unix" else None
        self.open_at[self._door] += 1
        self.app_state = {**self.app_state, "door": self._door, "peer": peer}
        if (self._door == "unix" and peer is None) or self.open_at[self._door] > _MOST_AT_A_DOOR:
            transport.abort()
        else:
            self._hang_up_in("ask", _ASK_WITHIN_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self.open_at[self._door] -= 1
        for timer in self._timers.values():
            timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is not None and not cycle.response_complete:
            self._go_on("ask")
        elif "ask" not in self._timers and not self.transport.is_closing():
            self._hang_up_in("ask", _ASK_WITHIN_S)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._hang_up_in("read", _READ_WITHIN_S)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._go_on("read")

    def _hang_up_in(self, why: str, in_s: float) -> None:
        self._timers[why] = asyncio.get_running_loop().call_later(in_s, self.transport.abort)

    def _go_on(self, why: str) -> None:
        timer = self._timers.pop(why, None)
        if timer is not None:
            timer.cancel()
