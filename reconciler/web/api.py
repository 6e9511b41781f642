"""The API: JSON and server-sent events under /api/v1, and /metrics."""

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from reconciler.inspection import log_files
from reconciler.metrics import prometheus
from reconciler.state.journal import as_record
from reconciler.web.authentication import Caller
from reconciler.web.buttons import BUTTONS
from reconciler.web.context import WebContext, body_of, server_sent, while_there
from reconciler.web.openapi import document
from reconciler.web.plan_process import CannotPlan, plan_of
from reconciler.web.responses import JsonAnswer, Problem
from reconciler.web.status_cache import Status
from reconciler.web.streaming import ticks

ALL_EVENTS = 20_000
WHICH_LOGS = ("app", "access", "staging")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Api:
    """Answers made at one desk."""

    def __init__(self, context: WebContext) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """Every path of the API."""
        answers = {
            "/status": self.status,
            "/apps": self.apps,
            "/apps/{name}": self.app,
            "/services": self.services,
            "/manifests": self.manifests,
            "/plan": self.plan,
            "/plan/{name}": self.plan,
            "/events": self.events,
            "/logs/{name}": self.log,
            "/openapi.json": self.openapi,
        }
        guarded = self._context.authenticated
        return [
            *(Route(f"/api/v1{path}", guarded(answer), methods=["GET"]) for path, answer in answers.items()),
            Route("/api/v1/requests", guarded(self.request), methods=["POST"]),
            Route("/metrics", guarded(self.metrics), methods=["GET"]),
        ]

    async def status(self, _: Request, __: Caller) -> Response:
        seen = await self._context.status_cache.now()
        return JsonAnswer({**seen.status, "apps": [told(row, seen) for row in seen.apps]})

    async def apps(self, _: Request, __: Caller) -> Response:
        seen = await self._context.status_cache.now()
        return JsonAnswer({"apps": [told(row, seen) for row in seen.apps]})

    async def app(self, request: Request, _: Caller) -> Response:
        seen = await self._context.status_cache.now()
        return JsonAnswer(told(known_app(request, seen), seen))

    async def services(self, _: Request, __: Caller) -> Response:
        return JsonAnswer({"services": (await self._context.status_cache.now()).status["services"]})

    async def manifests(self, _: Request, __: Caller) -> Response:
        status = (await self._context.status_cache.now()).status
        return JsonAnswer({"manifests": status["manifests"], "notice": status["notice"]})

    async def plan(self, request: Request, _: Caller) -> Response:
        name = None
        if "name" in request.path_params:
            name = str(known_app(request, await self._context.status_cache.now())["name"])
        try:
            return JsonAnswer(await while_there(request, plan_of(self._context.settings, name)))
        except CannotPlan as error:
            raise Problem(503, str(error)) from error

    async def events(self, request: Request, _: Caller) -> Response:
        app = request.query_params.get("app")
        limit = int_param(request.query_params, "limit", 100, 1, 1000)
        if "text/event-stream" in request.headers.get("accept", ""):
            last = request.headers.get("last-event-id", "")
            known = int(last) if re.fullmatch("[0-9]{1,15}", last) else int_param(request.query_params, "after", 0)
            return self._context.streaming(request, self._happening(app, known, limit, last != ""))
        after = int_param(request.query_params, "after", 0)
        if after:  # what follows it, so that a reader who was away can catch up page by page
            found = (await self._context.status_cache.events(app, ALL_EVENTS, after))[:limit]
        else:
            found = await self._context.status_cache.events(app, limit)
        return JsonAnswer({"events": [as_record(event) for event in found]})

    async def _happening(self, app: str | None, after: int, limit: int, again: bool) -> AsyncIterator[str]:
        """Events as they happen, after the newest few, or after the last one that was seen."""
        last = after
        first = True
        async for sign_due in ticks():
            seen = await self._context.status_cache.now()
            if seen.last_event > last or first:
                count = limit if first and not (again or after) else ALL_EVENTS
                for event in await self._context.status_cache.events(app, count, last):
                    yield server_sent(as_record(event), event.kind, event.id)
                last = max(last, seen.last_event)
                first = False
            elif sign_due:
                yield ": nothing new\n\n"

    async def log(self, request: Request, _: Caller) -> Response:
        log = log_of(self._context, request, [row["name"] for row in (await self._context.status_cache.now()).apps])
        count = int_param(request.query_params, "lines", 100, 0, log_files.MOST_LINES)
        if "text/event-stream" in request.headers.get("accept", ""):
            return self._context.streaming(request, self._written(log, count))
        try:
            return JsonAnswer({"lines": log_files.tail(log, count)})
        except OSError as error:
            raise Problem(503, f"cannot read the log: {error.strerror}") from error

    async def _written(self, log: Path, count: int) -> AsyncIterator[str]:
        quiet = 0
        async for lines in log_files.follow(log, count):
            quiet = 0 if lines else quiet + 1
            if lines:
                yield server_sent(lines)
            elif quiet % 15 == 0:
                yield ": nothing new\n\n"

    async def request(self, request: Request, caller: Caller) -> Response:
        self._context.access.check_write(request, caller, request.headers.get("x-csrf-token"))
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Problem(415, "expected application/json")
        try:
            wanted = json.loads(await body_of(request))
        except (ValueError, RecursionError):
            raise Problem(400, "this is no JSON") from None
        do, app, revision = _wanted(wanted)
        return JsonAnswer({"done": await self._context.request(do, app, revision)})

    async def openapi(self, _: Request, __: Caller) -> Response:
        return JsonAnswer(document())

    async def metrics(self, _: Request, __: Caller) -> Response:
        try:
            text = await asyncio.to_thread(prometheus.render, self._context.settings.paths)
        except (OSError, sqlite3.Error) as error:
            raise Problem(503, f"cannot read the metrics: {error}") from error
        return PlainTextResponse(text, media_type=prometheus.CONTENT_TYPE)


def told(row: Mapping[str, Any], seen: Status) -> dict[str, Any]:
    """An app as `status --json` prints it, with what it takes and what it is asked."""
    load = seen.loads.get(row["name"])
    return {
        **row,
        "memory_bytes": load.memory if load else None,
        "cpu": load.cpu if load else None,
        "requests_per_second": load.requests if load else None,
    }


def known_app(request: Request, seen: Status) -> Mapping[str, Any]:
    """The line of the app that the path names; raises Problem."""
    row = seen.app(request.path_params["name"])
    if row is None:
        raise Problem(404, "there is no app of that name here")
    return row


def log_of(context: WebContext, request: Request, known: Iterable[str]) -> Path:
    """The log file that a request asks for, of an app that is `known` or was once; raises Problem."""
    name, which = request.path_params["name"], request.query_params.get("which", "app")
    if which not in WHICH_LOGS:
        raise Problem(400, f"'which' is one of {', '.join(WHICH_LOGS)}")
    log = context.settings.paths.log(name, which)
    if not _NAME.fullmatch(name) or (name not in known and not log.parent.is_dir()):
        raise Problem(404, "no app of that name has logs here")
    return log


def int_param(given: Mapping[str, str], name: str, default: int, least: int = 0, most: int = 2**53) -> int:
    """A whole number of the query; raises Problem."""
    text = given.get(name)
    if text is None:
        return default
    if not re.fullmatch("[0-9]{1,16}", text) or not least <= int(text) <= most:
        raise Problem(400, f"'{name}' is a whole number from {least} to {most}")
    return int(text)


def _wanted(wanted: Any) -> tuple[str, str, str | None]:
    """Check what was asked for; raises Problem."""
    if not isinstance(wanted, dict) or wanted.keys() - {"do", "app", "revision"}:
        raise Problem(422, 'expected {"do": …, "app": …} and, to roll back, maybe "revision"')
    do, app, revision = wanted.get("do"), wanted.get("app"), wanted.get("revision")
    if not isinstance(do, str) or do not in BUTTONS:
        raise Problem(422, f"'do' is one of {', '.join(BUTTONS)}")
    if not isinstance(app, str) or not _NAME.fullmatch(app):
        raise Problem(422, "'app' is the name of an app")
    if revision is not None and not (isinstance(revision, str) and re.fullmatch("[0-9a-f]{1,12}", revision)):
        raise Problem(422, "'revision' is the beginning of a revision: 1 to 12 hexadecimal digits")
    return do, app, revision
