"""Server-sent events: their format, their pace, and a bound on how many clients follow and for how long."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from reconciler.web.responses import Problem

MEDIA_TYPE = "text/event-stream"
KEEP_ALIVE = ": nothing new\n\n"
KEEP_ALIVE_EVERY = 15
_TICK_S = 1.0
_STREAMS = 64
_STREAM_FOR_S = 3600.0


class Streams:
    """The streams of one web process; each ends after an hour, and clients reconnect by themselves."""

    def __init__(self) -> None:
        self._open = 0

    def response(self, request: Request, events: AsyncIterator[str]) -> Response:
        """Stream events to the client; raises Problem when too many follow already."""
        if request.method == "HEAD":
            return Response(media_type=MEDIA_TYPE)
        if self._open >= _STREAMS:
            raise Problem(503, "too many clients follow already: try again soon", {"Retry-After": "30"})
        return StreamingResponse(self._bounded(events), media_type=MEDIA_TYPE)

    async def _bounded(self, events: AsyncIterator[str]) -> AsyncIterator[str]:
        self._open += 1
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STREAM_FOR_S):
                    yield "retry: 3000\n\n"
                    async for event in events:
                        yield event
        finally:
            self._open -= 1


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
