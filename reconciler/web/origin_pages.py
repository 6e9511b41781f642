"""The pages about the origins in git of a host: their commits, who signed, and why the newest is not in force."""

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reconciler.planning.subject import Subject
from reconciler.web.authentication import Caller
from reconciler.web.context import WebContext
from reconciler.web.event_groups import grouped
from reconciler.web.rendering import Templates
from reconciler.web.responses import named
from reconciler.web.status_cache import Status

_EVENTS, _GROUPS = 500, 30


class OriginPages:
    """The pages about the origins in git of one host."""

    def __init__(self, context: WebContext, templates: Templates) -> None:
        self._context = context
        self._templates = templates

    def routes(self) -> list[Route]:
        """Return the route of every page."""
        authenticated = self._context.authenticated
        return [
            Route("/origins", authenticated(self.origins), methods=["GET"]),
            Route("/origins/{name:path}", authenticated(self.origin), methods=["GET"]),
        ]

    async def origins(self, _: Request, caller: Caller) -> Response:
        status = await self._context.status_cache.now()
        return self._templates.page("origins.html", caller, status=status)

    async def origin(self, request: Request, caller: Caller) -> Response:
        """Show an origin: its four commits, its signer, its webhook, and its events; raises Problem."""
        status = await self._context.status_cache.now()
        origin = _known_origin(request, status)
        events = await self._context.status_cache.events(Subject("origin", str(origin["name"])), _EVENTS)

        def rendered() -> Response:
            groups = grouped(events)[:_GROUPS]
            return self._templates.page("origin.html", caller, status=status, origin=origin, groups=groups)

        return await asyncio.to_thread(rendered)


def _known_origin(request: Request, status: Status) -> Mapping[str, Any]:
    """Return the facts about the origin that the path names; raises Problem."""
    return named(status.facts["origins"], request.path_params["name"], "origin in git")
