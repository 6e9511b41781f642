"""The web application: all routes, security headers on every answer, and errors as problems or pages."""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reconciler.settings.settings import Settings
from reconciler.web.api import Api
from reconciler.web.authentication import Access, Unauthenticated
from reconciler.web.context import WebContext
from reconciler.web.hooks import PREFIX, Hooks
from reconciler.web.pages import Pages, login_path
from reconciler.web.responses import problem
from reconciler.web.sessions import split
from reconciler.web.status_cache import StateUnreadable, StatusCache

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # With no-referrer, browsers would send no origin with the forms of our own pages.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_DETAILS = {404: "there is nothing at this path", 405: "this path does not support that method"}


def application(settings: Settings) -> ASGIApp:
    """Build the application for one host."""
    context = WebContext(
        settings=settings,
        status_cache=StatusCache(settings),
        access=Access(settings.api, settings.paths.web_sessions, settings.paths.login_links),
    )
    pages = Pages(context)

    async def failed(request: Request, error: Exception) -> Response:
        status, detail, headers = _described(error)
        if isinstance(error, Unauthenticated):
            if _is_for_programs(request):
                return problem(401, "the token is required: 'Authorization: Bearer …'", {"WWW-Authenticate": "Bearer"})
            return RedirectResponse(login_path(request), 303)
        if _is_for_programs(request):
            return problem(status, detail, headers)
        return pages.error(request, status, detail, headers)

    handlers: dict[int | type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = dict.fromkeys(
        (HTTPException, Unauthenticated, StateUnreadable, 500), failed
    )
    routes = [*Api(context).routes(), *Hooks(context).routes(), *pages.routes()]
    starlette = Starlette(routes=routes, exception_handlers=handlers)
    starlette.router.redirect_slashes = False
    return _WithHeaders(_WithSessionPath(starlette))


def _described(error: Exception) -> tuple[int, str, dict[str, str] | None]:
    if isinstance(error, HTTPException):
        detail = error.detail if type(error) is not HTTPException else _DETAILS.get(error.status_code, error.detail)
        return error.status_code, detail, dict(error.headers) if error.headers else None
    if isinstance(error, StateUnreadable):
        return 503, str(error), None
    return 500, "reconciler has a bug here; web.log in the state directory has the details", None


def _is_for_programs(request: Request) -> bool:
    return request.url.path.startswith(("/api/", "/metrics", "/live", PREFIX))


class _WithSessionPath:
    """Takes the base of a session off the path of a request over TCP, and puts it into the request's state."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["state"]["transport"] == "tcp":
            base, path = split(scope["path"])
            raw = scope.get("raw_path") or b""
            scope = {**scope, "path": path, "raw_path": raw[len(base) :], "state": {**scope["state"], "base": base}}
        await self._app(scope, receive, send)


class _WithHeaders:
    """Adds the security headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)
