"""The pages: what a browser shows, with or without its own programs."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Mapping
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from reconciler.inspection import log_files
from reconciler.inspection.printable import ago, visible
from reconciler.planning.apps.actions import ForgetApp, Reap, RemoveBuild, Sleep, Stop, StopHoldingPage, Unlisten
from reconciler.web.api import WHICH_LOGS, known_app, log_of
from reconciler.web.authentication import Caller
from reconciler.web.buttons import BUTTONS
from reconciler.web.context import WebContext, form_of, server_sent, while_there
from reconciler.web.formatting import brief, clock, line, moment, size
from reconciler.web.manifest import shown_manifest
from reconciler.web.plan_process import CannotPlan, plan_of
from reconciler.web.responses import Problem
from reconciler.web.rows import BLANK, STATES, Row, counts, row, rows
from reconciler.web.streaming import ticks
from reconciler.web.timeline import HEIGHT, NAMES, WIDTH, timeline

_EVENTS, _LATELY = 30, 14
_TIMELINE_EVENTS = 500
_LOG_LINES = 60
_A_YEAR_S = 365 * 24 * 3600
_KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

# Actions that end or remove something; the rest add or change.
_REMOVING = frozenset(
    action.__name__ for action in (Stop, Sleep, Reap, Unlisten, StopHoldingPage, RemoveBuild, ForgetApp)
)


class Pages:
    """Pages made at one desk."""

    def __init__(self, context: WebContext) -> None:
        self._context = context
        self._static = {
            place.name: place.read_bytes()
            for place in (resources.files("reconciler.web") / "static").iterdir()
            if Path(place.name).suffix in _KINDS
        }
        self._versions = {name: sha256(content).hexdigest()[:12] for name, content in self._static.items()}
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("reconciler.web"), autoescape=True, undefined=jinja2.StrictUndefined,
            trim_blocks=True, lstrip_blocks=True, auto_reload=False, finalize=_finalized,
        )  # fmt: skip
        self._templates.filters.update(line=line, ago=ago, brief=brief, clock=clock, moment=moment, size=size)
        self._templates.globals.update(
            static=lambda name: f"/static/{self._versions[name]}/{name}", buttons=BUTTONS, states=STATES
        )

    def routes(self) -> list[Route]:
        """Every path of the pages."""
        guarded = self._context.authenticated
        return [
            Route("/", guarded(self.apps), methods=["GET"]),
            Route("/apps/{name}", guarded(self.app), methods=["GET"]),
            Route("/apps/{name}/plan", guarded(self.plan), methods=["GET"]),
            Route("/apps/{name}/{do}", guarded(self.confirm), methods=["GET"]),
            Route("/apps/{name}/{do}", guarded(self.act), methods=["POST"]),
            Route("/live", guarded(self.live), methods=["GET"]),
            Route("/login", self.login, methods=["GET"]),
            Route("/login", self.log_in, methods=["POST"]),
            Route("/logout", guarded(self.log_out), methods=["POST"]),
            Route("/static/{version}/{name}", self.static, methods=["GET"]),
        ]

    async def apps(self, request: Request, caller: Caller) -> Response:
        seen = await self._context.status_cache.now()
        events = await self._context.status_cache.events(None, _LATELY)

        def made() -> Response:
            every = rows(seen)
            state, sought = request.query_params.get("state", ""), request.query_params.get("q", "").strip().lower()
            fits = [r for r in every if state in ("", r.state) and sought in f"{r.name} {r.cells['message']}".lower()]
            return self._page(
                "apps.html",
                caller,
                seen=seen,
                rows=fits,
                blank=BLANK,
                every=every,
                counts=counts(every),
                state=state,
                sought=sought,
                events=list(reversed(events)),
                refused=[m for m in seen.status["manifests"] if m["errors"]],
            )

        return await asyncio.to_thread(made)

    async def app(self, request: Request, caller: Caller) -> Response:
        seen = await self._context.status_cache.now()
        found = known_app(request, seen)
        name = str(found["name"])
        events = await self._context.status_cache.events(name, _TIMELINE_EVENTS)
        which = request.query_params.get("which", "app")
        which = which if which in WHICH_LOGS else "app"
        now = time.time()  # noqa: TID251  events are shown against it

        def made() -> Response:
            try:
                written: list[str] = log_files.tail(log_of(self._context, request, [name]), _LOG_LINES)
            except (Problem, OSError):
                written = []
            return self._page(
                "app.html",
                caller,
                seen=seen,
                row=row(found, seen),
                app=found,
                events=list(reversed(events[-_EVENTS:])),
                picture=timeline(events, now),
                width=WIDTH,
                height=HEIGHT,
                names=NAMES,
                manifest=shown_manifest(found["manifest"], seen.status["manifests"], self._context.settings.manifests),
                log=written,
                which=which,
                told=self._context.told.pop(f"{caller.session} {name}", ""),
                services=[s for s in seen.status["services"] if name in s.get("apps", ())],
            )

        return await asyncio.to_thread(made)

    async def plan(self, request: Request, caller: Caller) -> Response:
        seen = await self._context.status_cache.now()
        found = known_app(request, seen)
        plan: dict[str, Any] = dict.fromkeys(("actions", "error", "wait_seconds", "message", "changes"))
        why = ""
        try:
            told = await while_there(request, plan_of(self._context.settings, str(found["name"])))
            plan = next(iter(told["apps"]), plan)
        except CannotPlan as error:
            why = str(error)
        return self._page("plan.html", caller, seen=seen, row=row(found, seen), plan=plan, why=why, removing=_REMOVING)

    async def confirm(self, request: Request, caller: Caller) -> Response:
        seen = await self._context.status_cache.now()
        do = _known_action(request)
        shown_row = row(known_app(request, seen), seen)
        return self._page("confirm.html", caller, seen=seen, row=shown_row, do=do)

    async def act(self, request: Request, caller: Caller) -> Response:
        do, form = _known_action(request), await form_of(request)
        self._context.access.check_write(request, caller, form.get("form_token", ""))
        name = str(known_app(request, await self._context.status_cache.now())["name"])
        done = await self._context.request(do, name)
        while len(self._context.told) >= 100:
            del self._context.told[next(iter(self._context.told))]
        self._context.told[f"{caller.session} {name}"] = done
        return RedirectResponse(f"/apps/{name}", 303)

    async def live(self, request: Request, _: Caller) -> Response:
        return self._context.streaming(request, self._changes(request.query_params.get("app")))

    async def _changes(self, only: str | None) -> AsyncIterator[str]:
        """What differs from what was told before; everything at first."""
        told: dict[str, Row] = {}
        before, last = None, -1
        async for sign_due in ticks():
            seen = await self._context.status_cache.now()
            if seen is before:
                if sign_due:
                    yield ": nothing new\n\n"
                continue
            now = {line(r.name): r for r in await asyncio.to_thread(rows, seen) if only in (None, line(r.name))}
            changed = {name: r.live() for name, r in now.items() if told.get(name) != r}
            gone = sorted(told.keys() - now.keys())
            daemon = seen.status["daemon"]
            head = {
                "running": daemon["running"],
                "pid": daemon["pid"],
                "up": None if seen.up_s is None else ago(seen.up_s),
            }
            yield server_sent({"rows": changed, "gone": gone, "counts": counts(list(now.values())), "daemon": head,
                               "notice": line(seen.status["notice"] or "")})  # fmt: skip
            if seen.last_event != last:
                newer = await self._context.status_cache.events(only, _EVENTS, last) if last >= 0 else []
                last = seen.last_event
                told_events = [{"at": e.at, "clock": brief(e.at), "app": line(e.subject), "kind": line(e.kind),
                                "text": line(e.text), "cause": line(e.cause)} for e in newer]  # fmt: skip
                if told_events:
                    yield server_sent(told_events, "events")
            told, before = now, seen

    async def login(self, request: Request) -> Response:
        self._context.access.check_host(request)
        return self._page("login.html", None, wrong=False)

    async def log_in(self, request: Request) -> Response:
        self._context.access.check_host(request)
        if request.scope["state"]["door"] == "unix":
            return RedirectResponse("/", 303)
        session = await self._context.access.log_in(request, (await form_of(request)).get("token", ""))
        if session is None:
            return self._page("login.html", None, status=403, wrong=True)
        response = RedirectResponse("/", 303)
        self._context.give_session(response, session)
        return response

    async def log_out(self, request: Request, caller: Caller) -> Response:
        form = await form_of(request)
        self._context.access.check_form(request, caller, form.get("form_token", ""))
        response = RedirectResponse("/login", 303)
        self._context.give_session(response, "")
        return response

    async def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        content = self._static.get(name)
        if content is None or request.path_params["version"] != self._versions[name]:
            raise Problem(404, "there is nothing at this path")
        return Response(
            content,
            media_type=_KINDS[Path(name).suffix],
            headers={"Cache-Control": f"public, max-age={_A_YEAR_S}, immutable"},
        )

    def trouble(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
        """A page that says what went wrong."""
        return self._page("trouble.html", None, status=status, detail=detail, headers=headers)

    def _page(self, template: str, caller: Caller | None, status: int = 200, **facts: Any) -> HTMLResponse:
        headers = facts.pop("headers", None)
        is_tcp = caller is not None and not self._is_local(caller)
        text = self._templates.get_template(template).render(
            caller=caller, is_tcp=is_tcp, status=status, host=_HOST, **facts
        )
        return HTMLResponse(text, status, headers)

    def _is_local(self, caller: Caller) -> bool:
        return caller.who != "token"


_HOST = socket.gethostname()


def _known_action(request: Request) -> str:
    do = str(request.path_params["do"])
    if do not in BUTTONS:
        raise Problem(404, "there is nothing at this path")
    return do


def _finalized(value: Any) -> Any:
    return visible(value) if type(value) is str else value
