"""Server-sent events: their format, their pace, and a bound on how many clients follow and for how long."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from reconciler.web.responses import Problem

MEDIA_TYPE = "text/event-stream"
KEEP_ALIVE = ": nothing new\n\n"
KEEP_ALIVE_EVERY = 15
_TICK_S = 1.0
_STREAMS = 64
_OF_ONE_ADDRESS = 32
_STREAM_FOR_S = 3600.0


class Streams:
    """The streams of one web process; each ends after an hour, and clients reconnect by themselves.

    `address` returns that by which a client is limited.
    """

    def __init__(self, address: Callable[[Request], str]) -> None:
        self._address = address
        self._open: Counter[str] = Counter()

    def response(self, request: Request, events: AsyncIterator[str], is_allowed: Callable[[], bool]) -> Response:
        """Stream events to the client for as long as it `is_allowed`; raises Problem when too many follow already."""
        if request.method == "HEAD":
            return Response(media_type=MEDIA_TYPE)
        address = self._address(request)
        if self._open.total() >= _STREAMS or self._open[address] >= _OF_ONE_ADDRESS:
            raise Problem(503, "too many clients follow already: try again soon", {"Retry-After": "30"})
        self._open[address] += 1  # from here on, or a burst of requests would all be let in
        return _Stream(_bounded(events, is_allowed), lambda: self._close(address))

    def _close(self, address: str) -> None:
        self._open[address] -= 1
        self._open += Counter()  # without those that have none


class _Stream(StreamingResponse):
    """A stream that is told of its end, even if the client left before its first event."""

    def __init__(self, events: AsyncIterator[str], ended: Callable[[], None]) -> None:
        super().__init__(events, media_type=MEDIA_TYPE)
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()


async def _bounded(events: AsyncIterator[str], is_allowed: Callable[[], bool]) -> AsyncIterator[str]:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_STREAM_FOR_S):
            yield "retry: 3000\n\n"
            async for event in events:
                if not is_allowed():
                    return
                yield event


def is_wanted(request: Request) -> bool:
    """Return whether the client accepts server-sent events."""
    return MEDIA_TYPE in request.headers.get("accept", "")


async def ticks() -> AsyncIterator[bool]:
    """Yield once a second; True when a keep-alive is due, so that proxies leave the connection open."""
    number = 0
    while True:
        yield number % KEEP_ALIVE_EVERY == KEEP_ALIVE_EVERY - 1
        number += 1
        await asyncio.sleep(_TICK_S)


def server_sent(data: Any, event: str | None = None, number: int | None = None) -> str:
    """Format one server-sent event."""
    fields = [] if number is None else [f"id: {number}"]
    fields += [] if event is None else [f"event: {event}"]
    return "\n".join([*fields, f"data: {json.dumps(data, ensure_ascii=True, separators=(',', ':'))}", "", ""])
