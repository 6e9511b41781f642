"""The processes of an app on its page, and the requests about one of them."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from reconciler.control.requests import PROCESS_REQUESTS
from reconciler.linux.dataclass import dataclass
from reconciler.planning.subject import Subject
from reconciler.web.api import known_app
from reconciler.web.authentication import Caller
from reconciler.web.context import WebContext
from reconciler.web.process_requests import process_request
from reconciler.web.rendering import Templates
from reconciler.web.request_body import read_form
from reconciler.web.responses import Problem

_MOST_LOGS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownProcess:
    """A process of `status`, the names of its logs, and which requests make sense for it."""

    facts: Mapping[str, Any]
    logs: tuple[str, ...]
    offered: tuple[str, ...]


def process_rows(processes: Sequence[Mapping[str, Any]]) -> list[ShownProcess]:
    """Return the processes of an app as its page shows them."""
    return [
        ShownProcess(
            facts=each,
            logs=tuple(f"{each['name']}.{number}" for number in range(1, min(each["desired"] or 1, _MOST_LOGS) + 1)),
            offered=_offered(each),
        )
        for each in processes
    ]


def _offered(process: Mapping[str, Any]) -> tuple[str, ...]:
    if not process["desired"]:  # its manifest does not name it any more
        return ()
    return ("start",) if process["state"] in {"stopped", "stopping"} else ("restart", "stop")


class ProcessPages:
    """The requests about processes of the apps of one host."""

    def __init__(self, context: WebContext, templates: Templates) -> None:
        self._context = context
        self._templates = templates

    def routes(self) -> list[Route]:
        """Return the route of every request about a process."""
        path, authenticated = "/apps/{name}/processes/{process}/{request}", self._context.authenticated
        return [
            Route(path, authenticated(self.confirm), methods=["GET"]),
            Route(path, authenticated(self.request), methods=["POST"]),
        ]

    async def confirm(self, request: Request, caller: Caller) -> Response:
        """Ask whether a request is meant; raises Problem."""
        content = await self._asked(request)
        kind, app = PROCESS_REQUESTS[content["do"]], quote(content["app"], safe="")
        return self._templates.page(
            "confirm_task.html",
            caller,
            status=await self._context.status_cache.now(),
            label=kind.label,
            question=kind.question.format(name=f"{content['process']} of {content['app']}"),
            effect=kind.effect,
            action=f"/apps/{app}/processes/{quote(content['process'], safe='')}/{kind.name}",
            back=f"/apps/{app}",
        )

    async def request(self, request: Request, caller: Caller) -> Response:
        """Make a request, and show the app; raises Problem."""
        form = await read_form(request)
        self._context.access.check_write(request, caller, form.get("form_token", ""))
        content = await self._asked(request)
        answer = await self._context.ask(content)
        self._context.note(caller, Subject("app", content["app"]), str(answer["done"]))
        return RedirectResponse(f"{caller.session.base}/apps/{quote(content['app'], safe='')}", 303)

    async def _asked(self, request: Request) -> dict[str, Any]:
        app = known_app(request, await self._context.status_cache.now())
        do, process = str(request.path_params["request"]), str(request.path_params["process"])
        if do not in PROCESS_REQUESTS or all(each["name"] != process for each in app["processes"]):
            raise Problem(404, "there is nothing at this path")
        return process_request({"do": do, "app": str(app["name"]), "process": process})
