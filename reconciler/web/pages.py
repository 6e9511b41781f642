"""The pages: what a browser shows, with or without scripts."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from reconciler.control.requests import REQUESTS
from reconciler.inspection.printable import ago
from reconciler.inspection.releases import rollback_targets
from reconciler.metrics.load_ring import read_points
from reconciler.planning.apps.actions import ForgetApp, Reap, RemoveBuild, Sleep, Stop, StopHoldingPage, Unlisten
from reconciler.planning.subject import Subject
from reconciler.state.journal import Event
from reconciler.web.answer_schemas import REVISION_PATTERN
from reconciler.web.api import known_app, shown_lines
from reconciler.web.app_links import Viewer, viewer_of
from reconciler.web.authentication import Caller, is_local
from reconciler.web.charts import SPANS, charts
from reconciler.web.context import WebContext
from reconciler.web.endpoints import LOGS
from reconciler.web.event_groups import EventGroup, grouped
from reconciler.web.facts_process import facts_or_why
from reconciler.web.formatting import line
from reconciler.web.host_pages import HostPages
from reconciler.web.log_view import first_log, log_view
from reconciler.web.login_links import LINK_PATTERN
from reconciler.web.manifest import shown_manifest
from reconciler.web.origin_pages import OriginPages
from reconciler.web.process_pages import ProcessPages, process_rows
from reconciler.web.rendering import StaticFiles, Templates
from reconciler.web.request_body import read_form
from reconciler.web.responses import Problem
from reconciler.web.rows import BLANK, Row, counts, each_row, row, rows
from reconciler.web.scale_pages import ScalePages
from reconciler.web.service_pages import ServicePages
from reconciler.web.sorting import View
from reconciler.web.status_cache import Status
from reconciler.web.streaming import KEEP_ALIVE, server_sent, ticks
from reconciler.web.task_pages import TaskPages
from reconciler.web.timeline import HEIGHT, NAMES, PHASES, WIDTH, timeline
from reconciler.web.worker_rows import worker_rows

_GROUPS, _HOST_GROUPS, _ALL_GROUPS = 30, 12, 100
_READ_EVENTS, _ALL_EVENTS = 500, 2000
_LOG_LINES, _DIFF_LINES = 60, 2000

# Actions that end or remove something; the rest add or change.
_REMOVING = frozenset(
    action.__name__ for action in (Stop, Sleep, Reap, Unlisten, StopHoldingPage, RemoveBuild, ForgetApp)
)
# States of an origin of which nobody has to be told at once.
_AT_EASE = frozenset(("current", "pending", "waiting", "paused"))
_NO_PLAN: Mapping[str, Any] = dict.fromkeys(("actions", "processes", "error", "wait_seconds", "message", "changes"))


class Pages:
    """The pages of one host."""

    def __init__(self, context: WebContext) -> None:
        self._context = context
        self._static = StaticFiles()
        self._templates = Templates(self._static)

    def routes(self) -> list[Route]:
        """Return the route of every page."""
        authenticated = self._context.authenticated
        return [
            Route("/", authenticated(self.apps), methods=["GET"]),
            Route("/apps/{name}", authenticated(self.app), methods=["GET"]),
            Route("/apps/{name}/plan", authenticated(self.plan), methods=["GET"]),
            Route("/apps/{name}/environment", authenticated(self.environment), methods=["GET"]),
            Route("/apps/{name}/logs", authenticated(self.log), methods=["GET"]),
            Route("/apps/{name}/releases/{revision}", authenticated(self.release), methods=["GET"]),
            *TaskPages(self._context, self._templates).routes(),
            *ProcessPages(self._context, self._templates).routes(),
            *ScalePages(self._context, self._templates).routes(),
            Route("/apps/{name}/{request}", authenticated(self.confirm), methods=["GET"]),
            Route("/apps/{name}/{request}", authenticated(self.request), methods=["POST"]),
            Route("/events", authenticated(self.events), methods=["GET"]),
            *HostPages(self._context, self._templates).routes(),
            *ServicePages(self._context, self._templates).routes(),
            *OriginPages(self._context, self._templates).routes(),
            Route("/live", authenticated(self.live), methods=["GET"]),
            Route("/login", self.login, methods=["GET"]),
            Route("/login", self.log_in, methods=["POST"]),
            Route("/login/{link}", self.link, methods=["GET"]),
            Route("/logout", authenticated(self.log_out), methods=["POST"]),
            Route("/static/{version}/{name}", self.static, methods=["GET"]),
        ]

    async def apps(self, request: Request, caller: Caller) -> Response:
        self._context.status_cache.require_readable()
        view, viewer = View.of(request.query_params), viewer_of(request)

        async def facts() -> dict[str, Any]:
            status = await self._context.status_cache.now()
            events = await self._context.status_cache.events(None, _READ_EVENTS)
            if view == View():  # each row is made when it is rendered
                shown: Iterable[Row] = each_row(status, viewer) if status.apps else ()
            else:
                shown = view.shown(await asyncio.to_thread(rows, status, viewer))
            return {
                "status": status,
                "rows": shown,
                "blank": BLANK,
                "total": len(status.apps),
                "counts": counts(status.apps),
                "view": view,
                "groups": _important(events)[:_HOST_GROUPS],
                "held_back": [each for each in status.facts["origins"] if each["state"] not in _AT_EASE],
                "refused": [manifest for manifest in status.facts["manifests"] if manifest["errors"]],
            }

        return self._templates.page_top_first("apps.html", caller, facts)

    async def events(self, request: Request, caller: Caller) -> Response:
        """Show what happened on the host: what matters, or everything, the steps of a deploy folded either way."""
        status = await self._context.status_cache.now()
        everything = request.query_params.get("show") == "all"
        brief = request.query_params.get("show") == "brief"
        found = await self._context.status_cache.events(None, _READ_EVENTS if brief else _ALL_EVENTS)

        def rendered() -> Response:
            groups = grouped(found) if everything else _important(found)
            shown = groups[: _HOST_GROUPS if brief else _ALL_GROUPS]
            return self._templates.page("events.html", caller, status=status, groups=shown, everything=everything)

        return await asyncio.to_thread(rendered)

    async def app(self, request: Request, caller: Caller) -> Response:
        status = await self._context.status_cache.now()
        app = known_app(request, status)
        name = str(app["name"])
        events = await self._context.status_cache.events(Subject("app", name), _READ_EVENTS)
        releases = await self._context.status_cache.releases(name)
        instances = await self._context.status_cache.instances(name)
        which = request.query_params.get("which", first_log(app, self._context.settings.paths))
        now = time.time()  # noqa: TID251  events and loads are shown against it
        span = request.query_params.get("load", "hour")
        span = span if span in SPANS else "hour"
        query = f"which={quote(which)}&" if "which" in request.query_params else ""

        def rendered() -> Response:
            return self._templates.page(
                "app.html",
                caller,
                status=status,
                row=row(app, status, viewer_of(request)),
                app=app,
                groups=grouped(events)[:_GROUPS],
                timeline=timeline(events, now),
                charts=charts(
                    read_points(self._context.settings.paths.load_history(name), SPANS[span], now), SPANS[span], now
                ),
                span=span,
                query=query,
                releases=releases,
                workers=worker_rows(instances),
                processes=process_rows(app["processes"]),
                width=WIDTH,
                height=HEIGHT,
                names=NAMES,
                phases=PHASES,
                manifest=shown_manifest(app["manifest"], status.facts["manifests"], self._context.settings.manifests),
                log=self._log(name, which if which in LOGS else LOGS[0]),
                logs=LOGS,
                which=which if which in LOGS else LOGS[0],
                notice=self._context.take_note(caller, Subject("app", name)),
                services=[service for service in status.facts["services"] if name in service.get("apps", ())],
            )

        return await asyncio.to_thread(rendered)

    def _log(self, name: str, which: str) -> list[str]:
        try:
            return shown_lines(self._context, name, self._context.settings.paths.log(name, which), _LOG_LINES, True)
        except OSError:
            return []

    async def log(self, request: Request, caller: Caller) -> Response:
        return await log_view(self._context, self._templates, request, caller)

    async def release(self, request: Request, caller: Caller) -> Response:
        """Show a release with the lines of the source that differ; raises Problem."""
        status = await self._context.status_cache.now()
        app = known_app(request, status)
        name, revision = str(app["name"]), request.path_params["revision"]
        found = await self._context.status_cache.releases(name)
        release = next((each for each in found if each.record.revision == revision), None)
        if release is None:
            raise Problem(404, "there is no release of that revision")
        lines = await self._context.status_cache.source_lines(name, release, _DIFF_LINES + 1)

        def rendered() -> Response:
            return self._templates.page(
                "release.html",
                caller,
                status=status,
                row=row(app, status, viewer_of(request)),
                release=release,
                lines=lines and lines[:_DIFF_LINES],
                cut=lines is not None and len(lines) > _DIFF_LINES,
            )

        return await asyncio.to_thread(rendered)

    async def environment(self, request: Request, caller: Caller) -> Response:
        """Show the environment that an instance gets, as `reconciler env` does: its secrets are masked."""
        status = await self._context.status_cache.now()
        app = known_app(request, status)
        found, failure = await facts_or_why(request, self._context.settings, "environment", str(app["name"]))
        return self._templates.page(
            "environment.html",
            caller,
            status=status,
            row=row(app, status, viewer_of(request)),
            variables=sorted(found.get("environment", {}).items()),
            failure=failure,
        )

    async def plan(self, request: Request, caller: Caller) -> Response:
        status = await self._context.status_cache.now()
        app = known_app(request, status)
        found, failure = await facts_or_why(request, self._context.settings, "plan", str(app["name"]))
        return self._templates.page(
            "plan.html",
            caller,
            status=status,
            row=row(app, status, viewer_of(request)),
            plan=next(iter(found.get("apps", ())), _NO_PLAN),
            failure=failure,
            removing=_REMOVING,
        )

    async def confirm(self, request: Request, caller: Caller) -> Response:
        status = await self._context.status_cache.now()
        name = _known_request(request)
        app = known_app(request, status)
        to = await self._target(app, request.query_params.get("revision")) if name == "rollback" else None
        shown = row(app, status, viewer_of(request))
        return self._templates.page("confirm.html", caller, status=status, row=shown, request=name, to=to)

    async def _target(self, app: Mapping[str, Any], chosen: str | None) -> str | None:
        """Return the revision that a rollback would go to: the chosen one, or the last; None where that cannot be."""
        if chosen is None:
            return await self._context.status_cache.rollback_target(app)
        found = await self._context.status_cache.releases(str(app["name"]))
        return chosen if chosen in rollback_targets(found) else None

    async def request(self, request: Request, caller: Caller) -> Response:
        name, form = _known_request(request), await read_form(request)
        self._context.access.check_write(request, caller, form.get("form_token", ""))
        app = str(known_app(request, await self._context.status_cache.now())["name"])
        revision = form.get("revision") or None
        if revision is not None and (name != "rollback" or not re.fullmatch(REVISION_PATTERN, revision)):
            raise Problem(400, "only a rollback names a revision, by 1 to 12 hexadecimal digits")
        subject = Subject("app", app)
        self._context.note(caller, subject, await self._context.request(name, subject, revision))
        return RedirectResponse(f"{caller.session.base}/apps/{quote(app, safe='')}", 303)

    async def live(self, request: Request, caller: Caller) -> Response:
        app, service = request.query_params.get("app"), request.query_params.get("service")
        subject = Subject("app", app) if app else Subject("service", service) if service else None
        return self._context.stream(request, caller, self._changes(subject, viewer_of(request)))

    async def _changes(self, subject: Subject | None, viewer: Viewer) -> AsyncIterator[str]:
        """Stream the rows that changed and the kinds of the events that happened; every row at first.

        Of a `subject`, only its own.
        """
        sent: dict[str, Row] = {}
        before, last = None, -1
        async for keep_alive_due in ticks():
            status = await self._context.status_cache.now()
            if status is before:
                if keep_alive_due:
                    yield KEEP_ALIVE
                continue
            every = await asyncio.to_thread(_rows_of, status, viewer, subject)
            current = {line(each.name): each for each in every}
            yield server_sent(_update(status, sent, current))
            if status.last_event != last:
                newer = await self._context.status_cache.events(subject, _READ_EVENTS, last) if last >= 0 else []
                last = status.last_event
                if newer:
                    yield server_sent(sorted({event.kind for event in newer}), "events")
            sent, before = current, status

    async def login(self, request: Request) -> Response:
        self._context.access.check_host(request)
        return self._login_page(request, 200)

    async def link(self, request: Request) -> Response:
        """Answer a login link with the form that uses it."""
        self._context.access.check_host(request)
        link = str(request.path_params["link"])
        if is_local(request) or not re.fullmatch(LINK_PATTERN, link):
            return RedirectResponse("/login", 303)
        return self._templates.page("link.html", None, link=link)

    def _login_page(self, request: Request, http_status: int, *, wrong: str = "") -> Response:
        """Ask for the token, after one or a link that was `wrong`; only a client of this host learns of its file."""
        api, of_this_host = self._context.settings.api, self._context.access.address(request) == "this host"
        token = str(api.token) if api is not None and of_this_host else ""
        return self._templates.page("login.html", None, http_status=http_status, wrong=wrong, token=token)

    async def log_in(self, request: Request) -> Response:
        self._context.access.check_host(request)
        if is_local(request):
            return RedirectResponse("/", 303)
        form = await read_form(request)
        session = await self._context.access.log_in(request, form.get("token", ""), form.get("link", ""))
        if session is None:
            return self._login_page(request, 403, wrong="link" if "link" in form else "token")
        response = RedirectResponse(f"{session.base}/", 303)
        self._context.set_session(response, session)
        return response

    async def log_out(self, request: Request, caller: Caller) -> Response:
        form = await read_form(request)
        self._context.access.check_form(request, caller, form.get("form_token", ""))
        self._context.access.log_out(caller)
        response = RedirectResponse("/login?ended", 303)
        self._context.set_session(response, caller.session, ended=True)
        return response

    async def static(self, request: Request) -> Response:
        return self._static.response(request)

    def error(
        self, request: Request, http_status: int, detail: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Return the page for an error."""
        base = request.scope["state"].get("base", "")
        return self._templates.page(
            "error.html", None, http_status=http_status, detail=detail, headers=headers, base=base
        )


def login_path(request: Request) -> str:
    """Return the login page for a request without a session: it leads back if the browser knows of one."""
    if request.scope["state"].get("base"):
        return "/login?ended"
    return "/login" if request.url.path == "/" else f"/login?to={quote(request.url.path)}"


def _important(events: Sequence[Event]) -> list[EventGroup]:
    return [group for group in grouped(events) if group.importance != "routine"]


def _known_request(request: Request) -> str:
    name = str(request.path_params["request"])
    if name not in REQUESTS:
        raise Problem(404, "there is nothing at this path")
    return name


def _rows_of(status: Status, viewer: Viewer, subject: Subject | None) -> list[Row]:
    """Return the row of an app, none for a service; without a subject, that of every app."""
    if subject is None:
        return rows(status, viewer)
    app = status.app(subject.name) if subject.kind == "app" else None
    return [] if app is None else [row(app, status, viewer)]


def _update(status: Status, sent: Mapping[str, Row], current: Mapping[str, Row]) -> dict[str, Any]:
    """Return what a page that shows `sent` must change to show `current`."""
    daemon = status.facts["daemon"]
    return {
        "rows": {name: each.live() for name, each in current.items() if sent.get(name) != each},
        "removed": sorted(sent.keys() - current.keys()),
        "counts": counts(status.apps),
        "daemon": {
            "running": daemon["running"],
            "pid": daemon["pid"],
            "up": None if status.up_s is None else ago(status.up_s),
        },
        "notice": line(status.facts["notice"] or ""),
    }
