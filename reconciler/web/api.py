"""The API: JSON and server-sent events under /api/v1, and /metrics."""

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from reconciler.control.requests import REQUESTS, SERVICE_REQUESTS
from reconciler.documents.names import is_name
from reconciler.inspection import log_tail
from reconciler.inspection.log_redaction import log_redactor
from reconciler.inspection.tasks import facts
from reconciler.linux.error_words import in_words
from reconciler.metrics import prometheus
from reconciler.planning.subject import Subject
from reconciler.state.journal import as_record
from reconciler.vault.secret_patterns import LineRedactor
from reconciler.web import streaming
from reconciler.web.answer_schemas import REVISION_PATTERN
from reconciler.web.authentication import Caller
from reconciler.web.context import Answer, WebContext
from reconciler.web.endpoints import (
    AFTER,
    APP,
    ENDPOINTS,
    LIMIT,
    LINES,
    MOST_TASKS,
    OF_APP,
    SHOW,
    WHICH,
    Endpoint,
)
from reconciler.web.facts_process import CannotTell, facts_while_connected
from reconciler.web.login_links import LINK_S
from reconciler.web.openapi import document
from reconciler.web.process_requests import process_request
from reconciler.web.request_body import media_type, read_body
from reconciler.web.responses import JsonAnswer, Problem, named
from reconciler.web.scale_requests import scale_request
from reconciler.web.status_cache import Status
from reconciler.web.task_requests import TASK_REQUESTS, known_task, task_request

ALL_EVENTS = 20_000


class Api:
    """The answers to the endpoints of the API."""

    def __init__(self, context: WebContext) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """Return a route for each endpoint."""
        return [
            Route(each.path, self._context.authenticated(self._answer(each)), methods=[each.method])
            for each in ENDPOINTS
        ]

    def _answer(self, endpoint: Endpoint) -> Answer:
        answer: Answer = getattr(self, endpoint.name)
        return answer

    async def status(self, _: Request, __: Caller) -> Response:
        status = await self._context.status_cache.now()
        return JsonAnswer({**status.facts, "apps": [with_load(row, status) for row in status.apps]})

    async def apps(self, _: Request, __: Caller) -> Response:
        status = await self._context.status_cache.now()
        return JsonAnswer({"apps": [with_load(row, status) for row in status.apps]})

    async def app(self, request: Request, _: Caller) -> Response:
        status = await self._context.status_cache.now()
        return JsonAnswer(with_load(known_app(request, status), status))

    async def releases(self, request: Request, _: Caller) -> Response:
        name = str(known_app(request, await self._context.status_cache.now())["name"])
        found = await self._context.status_cache.releases(name)
        return JsonAnswer({"app": name, "releases": [each.facts() for each in found]})

    async def tasks(self, request: Request, _: Caller) -> Response:
        app = request.query_params.get(OF_APP.name) or None
        found = await self._context.status_cache.tasks(app, MOST_TASKS.read(request))
        return JsonAnswer({"tasks": [facts(task) for task in found]})

    async def task(self, request: Request, _: Caller) -> Response:
        return JsonAnswer(facts(await known_task(self._context, request.path_params["task"])))

    async def services(self, _: Request, __: Caller) -> Response:
        return JsonAnswer({"services": (await self._context.status_cache.now()).facts["services"]})

    async def manifests(self, _: Request, __: Caller) -> Response:
        facts = (await self._context.status_cache.now()).facts
        return JsonAnswer({"manifests": facts["manifests"], "notice": facts["notice"]})

    async def domains(self, _: Request, __: Caller) -> Response:
        return JsonAnswer({"domains": (await self._context.status_cache.now()).facts["domains"]})

    async def origins(self, _: Request, __: Caller) -> Response:
        return JsonAnswer({"origins": (await self._context.status_cache.now()).facts["origins"]})

    async def plan(self, request: Request, _: Caller) -> Response:
        return await self._planned(request, None)

    async def plan_of_app(self, request: Request, _: Caller) -> Response:
        return await self._planned(request, str(known_app(request, await self._context.status_cache.now())["name"]))

    async def _planned(self, request: Request, name: str | None) -> Response:
        try:
            return JsonAnswer(await facts_while_connected(request, self._context.settings, "plan", name))
        except CannotTell as error:
            raise Problem(503, str(error)) from error

    async def events(self, request: Request, caller: Caller) -> Response:
        app = request.query_params.get(APP.name)
        subject = Subject("app", app) if app else None
        limit = LIMIT.read(request)
        if streaming.is_wanted(request):
            last = request.headers.get("last-event-id", "")
            after = int(last) if re.fullmatch("[0-9]{1,15}", last) else AFTER.read(request)
            return self._context.stream(request, caller, self._followed(subject, after, limit, resumed=last != ""))
        after = AFTER.read(request)
        if after:  # the oldest of those that follow it, so that a client can catch up page by page
            found = (await self._context.status_cache.events(subject, ALL_EVENTS, after))[:limit]
        else:
            found = await self._context.status_cache.events(subject, limit)
        return JsonAnswer({"events": [as_record(event) for event in found]})

    async def _followed(self, subject: Subject | None, after: int, limit: int, *, resumed: bool) -> AsyncIterator[str]:
        """Stream the newest events, or those after `after`, and each one that follows."""
        last = after
        first = True
        async for keep_alive_due in streaming.ticks():
            status = await self._context.status_cache.now()
            if status.last_event > last or first:
                count = limit if first and not (resumed or after) else ALL_EVENTS
                for event in await self._context.status_cache.events(subject, count, last):
                    yield streaming.server_sent(as_record(event), event.kind, event.id)
                last = max(last, status.last_event)
                first = False
            elif keep_alive_due:
                yield streaming.KEEP_ALIVE

    async def log(self, request: Request, caller: Caller) -> Response:
        file = log_of(self._context, request, await self._context.status_cache.now())
        count, fold = LINES.read(request), SHOW.read(request) == "folded"
        name = request.path_params["name"]
        if streaming.is_wanted(request):
            return self._context.stream(request, caller, self._written(name, file, count, fold))
        try:
            return JsonAnswer({"lines": await asyncio.to_thread(shown_lines, self._context, name, file, count, fold)})
        except OSError as error:
            raise Problem(503, f"cannot read the log: {in_words(error)}") from error

    async def _written(self, name: str, file: Path, count: int, fold: bool) -> AsyncIterator[str]:
        quiet = 0
        redactor = await asyncio.to_thread(log_redactor, self._context.settings, name)
        async for lines in log_tail.follow(file, count, fold=fold):
            quiet = 0 if lines else quiet + 1
            if lines:
                yield streaming.server_sent(await asyncio.to_thread(_redacted, redactor, lines))
            elif quiet % streaming.KEEP_ALIVE_EVERY == 0:
                yield streaming.KEEP_ALIVE

    async def request(self, request: Request, caller: Caller) -> Response:
        self._context.access.check_write(request, caller, request.headers.get("x-csrf-token"))
        if media_type(request) != "application/json":
            raise Problem(415, "expected application/json")
        try:
            content = json.loads(await read_body(request))
        except (ValueError, RecursionError):
            raise Problem(400, "the body is not valid JSON") from None
        if isinstance(content, dict) and content.get("do") in TASK_REQUESTS:
            answer = await self._context.ask(task_request(content))
            return JsonAnswer({"done": answer["done"], "task": answer["task"]})
        if isinstance(content, dict) and content.get("do") == "scale":
            return JsonAnswer({"done": (await self._context.ask(scale_request(content)))["done"]})
        if isinstance(content, dict) and "process" in content:
            return JsonAnswer({"done": (await self._context.ask(process_request(content)))["done"]})
        return JsonAnswer({"done": await self._context.request(*_request_in(content))})

    async def login_link(self, request: Request, caller: Caller) -> Response:
        self._context.access.check_write(request, caller, request.headers.get("x-csrf-token"))
        if media_type(request) != "application/json":
            raise Problem(415, "expected application/json")
        return JsonAnswer({"url": self._context.access.login_link(caller), "expires_in_s": LINK_S})

    async def openapi(self, _: Request, __: Caller) -> Response:
        return JsonAnswer(document())

    async def metrics(self, _: Request, __: Caller) -> Response:
        try:
            text = await asyncio.to_thread(prometheus.render, self._context.settings.paths)
        except (OSError, sqlite3.Error) as error:
            raise Problem(503, f"cannot read the metrics: {error}") from error
        refused = prometheus.refused_webhooks(self._context.refused_webhooks)
        return PlainTextResponse(text + refused, media_type=prometheus.CONTENT_TYPE)


def with_load(row: Mapping[str, Any], status: Status) -> dict[str, Any]:
    """Return an app's row of the status with the app's load added."""
    load = status.loads.get(row["name"])
    return {
        **row,
        "memory_bytes": load.memory if load else None,
        "cpu": load.cpu if load else None,
        "requests_per_second": load.requests if load else None,
        "queue": load.queue if load else None,
        "queue_wait_seconds": load.wait_s if load else None,
    }


def known_app(request: Request, status: Status) -> Mapping[str, Any]:
    """Return the row of the app that the path names; raises Problem."""
    return named(status.apps, request.path_params["name"], "app")


def shown_lines(context: WebContext, app: str, file: Path, count: int, fold: bool) -> list[str]:
    """Return the last lines of a log without the secrets that the app was given. Blocks; raises OSError."""
    return _redacted(log_redactor(context.settings, app), log_tail.tail(file, count, fold=fold))


def _redacted(redactor: LineRedactor, lines: list[str]) -> list[str]:
    return [redactor.redacted(line) for line in lines]


def log_of(context: WebContext, request: Request, status: Status) -> Path:
    """Return the log file that a request names, of a known or a former app; raises Problem."""
    name, which = request.path_params["name"], WHICH.read(request)
    file = context.settings.paths.log(name, which)
    if not is_name(name) or (status.app(name) is None and not file.parent.is_dir()):
        raise Problem(404, "there are no logs of an app with that name on this host")
    return file


def _request_in(content: Any) -> tuple[str, Subject, str | None]:
    """Return the name, subject and revision of an operator's request; raises Problem."""
    name = content.get("do") if isinstance(content, dict) else None
    if isinstance(name, str) and name in SERVICE_REQUESTS:
        return name, Subject("service", _service_in(content)), None
    if not isinstance(content, dict) or content.keys() - {"do", "app", "revision"}:
        raise Problem(422, 'expected {"do": …, "app": …} and, for a rollback, optionally "revision"')
    app, revision = content.get("app"), content.get("revision")
    if not isinstance(name, str) or name not in REQUESTS:
        raise Problem(422, f"'do' must be one of {', '.join((*REQUESTS, *SERVICE_REQUESTS))}")
    if not isinstance(app, str) or not is_name(app):
        raise Problem(422, "'app' must be the name of an app")
    if revision is not None and not (isinstance(revision, str) and re.fullmatch(REVISION_PATTERN, revision)):
        raise Problem(422, "'revision' must be the beginning of a revision's id: 1 to 12 hexadecimal digits")
    return name, Subject("app", app), revision


def _service_in(content: Mapping[str, Any]) -> str:
    """Return the service that a request is about; raises Problem."""
    name = content.get("service")
    if content.keys() != {"do", "service"} or not isinstance(name, str) or not is_name(name):
        raise Problem(422, f'expected {{"do": "{content["do"]}", "service": …}} with the name of a service')
    return name
