"""The page on which an operator asks for a number of workers of an app."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from reconciler.documents.units import duration_s
from reconciler.planning.subject import Subject
from reconciler.web.api import known_app
from reconciler.web.app_links import viewer_of
from reconciler.web.authentication import Caller
from reconciler.web.context import WebContext
from reconciler.web.rendering import Templates
from reconciler.web.request_body import read_form
from reconciler.web.responses import Problem
from reconciler.web.rows import row


class ScalePages:
    """The page of the number of workers of each app of one host."""

    def __init__(self, context: WebContext, templates: Templates) -> None:
        self._context = context
        self._templates = templates

    def routes(self) -> list[Route]:
        """Return its routes."""
        path, authenticated = "/apps/{name}/scale", self._context.authenticated
        return [
            Route(path, authenticated(self.ask), methods=["GET"]),
            Route(path, authenticated(self.request), methods=["POST"]),
        ]

    async def ask(self, request: Request, caller: Caller) -> Response:
        """Ask how many workers, and for how long; raises Problem."""
        status = await self._context.status_cache.now()
        app = known_app(request, status)
        shown = row(app, status, viewer_of(request))
        return self._templates.page("scale.html", caller, status=status, row=shown, app=app)

    async def request(self, request: Request, caller: Caller) -> Response:
        """Make the request, and show the app; raises Problem."""
        form = await read_form(request)
        self._context.access.check_write(request, caller, form.get("form_token", ""))
        name = str(known_app(request, await self._context.status_cache.now())["name"])
        answer = await self._context.ask({"do": "scale", "app": name, **_asked(form)})
        self._context.note(caller, Subject("app", name), str(answer["done"]))
        return RedirectResponse(f"{caller.session.base}/apps/{quote(name, safe='')}", 303)


def _asked(form: Mapping[str, str]) -> dict[str, Any]:
    if "end" in form:
        return {"workers": None}
    workers, duration = form.get("workers", "").strip(), form.get("for", "").strip()
    if not workers.isdecimal() or len(workers) > 4:
        raise Problem(400, "the number of workers must be a number")
    try:
        return {"workers": int(workers), **({"for": duration_s(duration)} if duration else {})}
    except ValueError as error:
        raise Problem(400, f"for how long: {error}") from None
