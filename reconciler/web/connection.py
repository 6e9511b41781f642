"""One connection to the API or the page: the user at the other end, and limits on its number and its slowness.

The unix socket is for root and the daemon's own user, whatever its mode. A client that is slow to send a request or to
read an answer is disconnected. Beyond a limit, one for each transport, a new connection takes the place of the oldest
one that has sent no whole request, of the address that has the most.
"""

import asyncio
import socket
from collections import Counter
from typing import ClassVar, Literal, TypeAlias, cast

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from reconciler.linux.unix_sockets import peer_name
from reconciler.web.client_address import group_of

Transport: TypeAlias = Literal["unix", "tcp"]

_MOST_PER_TRANSPORT = 200
_REQUEST_WITHIN_S = 10.0
_READ_WITHIN_S = 30.0


class Connection(H11Protocol):
    """A connection of uvicorn, with limits. The request's state has `transport` and `peer` (a user's name, or None)."""

    open_connections: ClassVar[dict[Transport, dict["Connection", str]]] = {"unix": {}, "tcp": {}}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        connected = transport.get_extra_info("socket")
        self._transport: Transport = "unix" if connected.family == socket.AF_UNIX else "tcp"
        peer = peer_name(connected) if self._transport == "unix" else None
        address = group_of(str(transport.get_extra_info("peername")[0])) if self._transport == "tcp" else ""
        has_room = self._has_room()
        self.open_connections[self._transport][self] = address
        self.app_state = {**self.app_state, "transport": self._transport, "peer": peer}
        if (self._transport == "unix" and peer is None) or not has_room:
            transport.abort()
        else:
            self._abort_in("request", _REQUEST_WITHIN_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self.open_connections[self._transport].pop(self, None)
        for timer in self._timers.values():
            timer.cancel()
        super().connection_lost(exc)

    def _has_room(self) -> bool:
        """Disconnect another client if there are too many; return whether this one may stay."""
        connections = self.open_connections[self._transport]
        if len(connections) < _MOST_PER_TRANSPORT:
            return True
        by_address = Counter(connections.values())
        unfinished = [each for each in connections if each._is_unfinished()]  # noqa: SLF001  of this class
        if not unfinished:
            return False
        oldest = max(unfinished, key=lambda each: by_address[connections[each]])  # the first of several
        connections.pop(oldest)
        oldest.transport.abort()
        return True

    def _is_unfinished(self) -> bool:
        """Whether no whole request of this client is being answered."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is None or cycle.response_complete or cycle.more_body

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is not None and not cycle.response_complete:
            self._cancel_abort("request")
        elif "request" not in self._timers and not self.transport.is_closing():
            self._abort_in("request", _REQUEST_WITHIN_S)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._abort_in("read", _READ_WITHIN_S)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel_abort("read")

    def _abort_in(self, why: str, in_s: float) -> None:
        self._timers[why] = asyncio.get_running_loop().call_later(in_s, self.transport.abort)

    def _cancel_abort(self, why: str) -> None:
        timer = self._timers.pop(why, None)
        if timer is not None:
            timer.cancel()
