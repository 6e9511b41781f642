"""What every answer is made from, and the two things every request goes through: who is it, and what if it fails."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from reconciler.control.socket import Refused, ask
from reconciler.settings.settings import Settings
from reconciler.web.authentication import SESSION_S, Access, Caller
from reconciler.web.responses import Problem
from reconciler.web.status_cache import StatusCache

LARGEST_BODY = 16 * 1024
_BODY_WITHIN_S = 10.0
_STREAMS = 64
_STREAM_FOR_S = 3600.0

T = TypeVar("T")
Answer: TypeAlias = Callable[[Request, Caller], Awaitable[Response]]


@dataclass(slots=True, kw_only=True)
class WebContext:
    """One for a whole process."""

    settings: Settings
    status_cache: StatusCache
    access: Access
    streams: int = 0
    told: dict[str, str] = field(default_factory=dict)

    def authenticated(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        """The same for those who may look; a new session gets its cookie."""

        async def answered(request: Request) -> Response:
            caller = self.access.authenticate(request)
            response = await answer(request, caller)
            if caller.is_new:
                self.give_session(response, caller.session)
            return response

        return answered

    def give_session(self, response: Response, session: str) -> None:
        """Set the cookie; an empty one takes it back."""
        response.set_cookie(
            self.access.cookie,
            session,
            max_age=SESSION_S if session else 0,
            path="/",
            secure=self.access.is_secure,
            httponly=True,
            samesite="strict",
        )

    async def request(self, do: str, app: str, revision: str | None = None) -> str:
        """Ask the daemon for something once; returns what was done, raises Problem."""
        wanted: dict[str, Any] = {"do": do, "app": app}
        if revision:
            wanted["revision"] = revision
        try:
            done = await asyncio.to_thread(ask, self.settings.paths.control, wanted)
        except Refused as refused:
            raise Problem(409, str(refused)) from refused
        except (OSError, ValueError) as error:
            raise Problem(503, "the daemon does not answer; 'reconciler status' on the host says more") from error
        return str(done["done"])

    def streaming(self, request: Request, events: AsyncIterator[str]) -> Response:
        """Server-sent events, for an hour at most and to so many at once; whoever follows comes again by itself."""
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        if self.streams >= _STREAMS:
            raise Problem(503, "too many are following already: try again soon", {"Retry-After": "30"})
        return StreamingResponse(self._bounded(events), media_type="text/event-stream")

    async def _bounded(self, events: AsyncIterator[str]) -> AsyncIterator[str]:
        self.streams += 1
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STREAM_FOR_S):
                    yield "retry: 3000\n\n"
                    async for event in events:
                        yield event
        finally:
            self.streams -= 1


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What `work` finds out; it is cancelled as soon as whoever asked has left."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Problem(400, "whoever asked has left")  # nobody reads it
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def body_of(request: Request) -> bytes:
    """A request's body; raises Problem when it is too large or takes too long to come."""
    content = b""
    try:
        async with asyncio.timeout(_BODY_WITHIN_S):
            async for chunk in request.stream():
                content += chunk
                if len(content) > LARGEST_BODY:
                    raise Problem(413, f"a request has at most {LARGEST_BODY} bytes")
    except TimeoutError:
        raise Problem(408, "the request did not arrive in time") from None
    except ClientDisconnect:
        raise Problem(400, "the request did not arrive") from None
    return content


async def form_of(request: Request) -> Mapping[str, str]:
    """What a form of a page sent."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Problem(415, "expected a form")
    try:
        text = (await body_of(request)).decode("ascii")
        fields = parse_qsl(text, keep_blank_values=True, max_num_fields=20, errors="strict")
    except ValueError:
        raise Problem(400, "this is no form") from None
    form = dict(fields)
    if len(form) < len(fields):
        raise Problem(400, "a form says each thing once")
    return form


def server_sent(data: Any, event: str | None = None, number: int | None = None) -> str:
    """One server-sent event."""
    told = [] if number is None else [f"id: {number}"]
    told += [] if event is None else [f"event: {event}"]
    return "\n".join([*told, f"data: {json.dumps(data, ensure_ascii=True, separators=(',', ':'))}", "", ""])
