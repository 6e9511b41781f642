"""State shared by all endpoints of one web process: settings, cached status, authentication, requests to the daemon."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import field
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from reconciler.control.requests import NotFound, Refused
from reconciler.control.socket import ask
from reconciler.linux.dataclass import dataclass
from reconciler.planning.subject import Subject
from reconciler.settings.settings import Settings
from reconciler.web.authentication import Access, Caller
from reconciler.web.responses import Problem
from reconciler.web.sessions import SESSION_S, Session
from reconciler.web.status_cache import StatusCache
from reconciler.web.streaming import Streams

_NOTICES = 100

Answer: TypeAlias = Callable[[Request, Caller], Awaitable[Response]]


@dataclass(slots=True, kw_only=True)
class WebContext:
    """The one context of a web process; `notices` holds what was done for a session, until its page shows it once.

    `refused_webhooks` counts the calls of each repository's webhook that were refused, "" for those without one.
    """

    settings: Settings
    status_cache: StatusCache
    access: Access
    streams: Streams = field(init=False)
    notices: dict[str, str] = field(default_factory=dict)
    refused_webhooks: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.streams = Streams(self.access.address)

    def stream(self, request: Request, caller: Caller, events: AsyncIterator[str]) -> Response:
        """Stream events to a caller until its session ends; raises Problem."""
        return self.streams.response(request, events, lambda: self.access.is_open(caller))

    def authenticated(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        """Return an endpoint that answers authenticated callers only, and gives a new session its cookie."""

        async def answered(request: Request) -> Response:
            caller = self.access.authenticate(request)
            response = await answer(request, caller)
            if caller.is_new:
                self.set_session(response, caller.session)
            return response

        return answered

    def set_session(self, response: Response, session: Session, *, ended: bool = False) -> None:
        """Set the session cookie, which a browser sends to the session's own path; delete it once it has ended."""
        response.set_cookie(
            self.access.cookie,
            "" if ended else session.cookie,
            max_age=0 if ended else SESSION_S,
            path=session.base or "/",
            secure=self.access.is_secure,
            httponly=True,
            samesite="strict",
        )

    async def request(self, name: str, subject: Subject, revision: str | None = None) -> str:
        """Send an operator's request to the daemon; returns what was done, raises Problem."""
        content: dict[str, Any] = {"do": name, subject.kind: subject.name}
        if revision:
            content["revision"] = revision
        return str((await self.ask(content))["done"])

    async def ask(self, content: dict[str, Any]) -> Mapping[str, Any]:
        """Send a request to the daemon; returns its answer, raises Problem."""
        try:
            return await asyncio.to_thread(ask, self.settings.paths.control, content)
        except NotFound as unknown:
            raise Problem(404, str(unknown)) from unknown
        except Refused as refused:
            raise Problem(409, str(refused)) from refused
        except (OSError, ValueError) as error:
            raise Problem(503, "the daemon does not answer: see 'reconciler status' on the host") from error

    def note(self, caller: Caller, subject: Subject, text: str) -> None:
        """Keep a notice for the next page that this session opens of an app or a service."""
        while len(self.notices) >= _NOTICES:
            del self.notices[next(iter(self.notices))]
        self.notices[f"{caller.session.cookie} {subject}"] = text

    def take_note(self, caller: Caller, subject: Subject) -> str:
        """Return the notice for this session's page of an app or a service, once; empty without one."""
        return self.notices.pop(f"{caller.session.cookie} {subject}", "")
