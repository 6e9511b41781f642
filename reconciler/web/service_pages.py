"""The pages about the services of a host, and the requests that operators make of them there."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from reconciler.control.requests import SERVICE_REQUESTS
from reconciler.planning.subject import Subject
from reconciler.services.registry import WITHOUT_BACKUP
from reconciler.web.app_links import viewer_of
from reconciler.web.authentication import Caller
from reconciler.web.context import WebContext
from reconciler.web.event_groups import grouped
from reconciler.web.manifest import shown_manifest
from reconciler.web.rendering import Templates
from reconciler.web.request_body import read_form
from reconciler.web.responses import Problem, named
from reconciler.web.rows import row
from reconciler.web.status_cache import Status

_EVENTS, _GROUPS, _BACKUPS = 500, 30, 50


class ServicePages:
    """The pages about the services of one host."""

    def __init__(self, context: WebContext, templates: Templates) -> None:
        self._context = context
        self._templates = templates

    def routes(self) -> list[Route]:
        """Return the route of every page."""
        authenticated = self._context.authenticated
        return [
            Route("/services", authenticated(self.services), methods=["GET"]),
            Route("/services/{name}", authenticated(self.service), methods=["GET"]),
            Route("/services/{name}/{request}", authenticated(self.confirm), methods=["GET"]),
            Route("/services/{name}/{request}", authenticated(self.request), methods=["POST"]),
        ]

    async def services(self, _: Request, caller: Caller) -> Response:
        status = await self._context.status_cache.now()
        return self._templates.page("services.html", caller, status=status)

    async def service(self, request: Request, caller: Caller) -> Response:
        """Show a service: its apps, its size, its backups, its manifest and its events; raises Problem."""
        status = await self._context.status_cache.now()
        service = _known_service(request, status)
        subject = Subject("service", str(service["name"]))
        events = await self._context.status_cache.events(subject, _EVENTS)
        backups = await self._context.status_cache.backups(subject.name)
        settings = self._context.settings

        def rendered() -> Response:
            bound = [row(app, status, viewer_of(request)) for app in status.apps if app["name"] in service["apps"]]
            return self._templates.page(
                "service.html",
                caller,
                status=status,
                service=service,
                bound=bound,
                groups=grouped(events)[:_GROUPS],
                backups=backups[:_BACKUPS],
                more_backups=len(backups) - _BACKUPS,
                without_backup=WITHOUT_BACKUP.get(service["type"], ""),
                notice=self._context.take_note(caller, subject),
                manifest=shown_manifest(service["manifest"], status.facts["manifests"], settings.manifests),
            )

        return await asyncio.to_thread(rendered)

    async def confirm(self, request: Request, caller: Caller) -> Response:
        status = await self._context.status_cache.now()
        kind = SERVICE_REQUESTS[_known_request(request)]
        service = _known_service(request, status)
        return self._templates.page("confirm_service.html", caller, status=status, service=service, kind=kind)

    async def request(self, request: Request, caller: Caller) -> Response:
        name, form = _known_request(request), await read_form(request)
        self._context.access.check_write(request, caller, form.get("form_token", ""))
        service = _known_service(request, await self._context.status_cache.now())
        subject = Subject("service", str(service["name"]))
        self._context.note(caller, subject, await self._context.request(name, subject))
        return RedirectResponse(f"{caller.session.base}/services/{quote(subject.name, safe='')}", 303)


def _known_service(request: Request, status: Status) -> Mapping[str, Any]:
    """Return the row of the service that the path names; raises Problem."""
    return named(status.facts["services"], request.path_params["name"], "service")


def _known_request(request: Request) -> str:
    name = str(request.path_params["request"])
    if name not in SERVICE_REQUESTS:
        raise Problem(404, "there is nothing at this path")
    return name
