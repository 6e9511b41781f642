"""Render templates and serve the static files they refer to; every text that a template prints is escaped."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from reconciler.control.requests import PROCESS_REQUESTS, REQUESTS
from reconciler.inspection.printable import ago, clock, visible
from reconciler.linux.package_files import package_directory
from reconciler.web import charts
from reconciler.web.authentication import Caller
from reconciler.web.formatting import brief, expires, line, moment, size, url
from reconciler.web.responses import Problem
from reconciler.web.rows import DOMAIN_MARKS, ORIGIN_MARKS, SERVICE_MARKS, STATES
from reconciler.web.status_cache import StateUnreadable

_A_YEAR_S = 365 * 24 * 3600
_MEDIA_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_HOST = socket.gethostname()
# What fills a tall screen with rows; and what is sent at a time after that.
_FIRST_CHUNK, _CHUNK = 24 * 1024, 128 * 1024


class StaticFiles:
    """The style sheet, script and icon, at paths that change with their content."""

    def __init__(self) -> None:
        self._contents = {
            file.name: file.read_bytes()
            for file in (package_directory("reconciler.web") / "static").iterdir()
            if Path(file.name).suffix in _MEDIA_TYPES
        }
        self._versions = {name: sha256(content).hexdigest()[:12] for name, content in self._contents.items()}

    def path(self, name: str) -> str:
        """Return the path of a file."""
        return f"/static/{self._versions[name]}/{name}"

    def response(self, request: Request) -> Response:
        """Answer with the file that the path names; raises Problem."""
        name = request.path_params["name"]
        content = self._contents.get(name)
        if content is None or request.path_params["version"] != self._versions[name]:
            raise Problem(404, "there is nothing at this path")
        return Response(
            content,
            media_type=_MEDIA_TYPES[Path(name).suffix],
            headers={"Cache-Control": f"public, max-age={_A_YEAR_S}, immutable"},
        )


class Templates:
    """The templates of the pages."""

    def __init__(self, static: StaticFiles) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.PackageLoader("reconciler.web"), autoescape=True, undefined=jinja2.StrictUndefined,
            trim_blocks=True, lstrip_blocks=True, auto_reload=False, finalize=_finalized,
        )  # fmt: skip
        self._environment.filters.update(
            line=line, ago=ago, brief=brief, clock=clock, moment=moment, size=size, expires=expires, is_link=url
        )
        self._environment.globals.update(
            static=static.path, requests=REQUESTS, process_requests=PROCESS_REQUESTS,
            states=STATES, service_marks=SERVICE_MARKS, origin_marks=ORIGIN_MARKS, domain_marks=DOMAIN_MARKS,
            chart_size={"width": charts.WIDTH, "height": charts.HEIGHT, "left": charts.LEFT, "right": charts.RIGHT,
                        "bottom": charts.BOTTOM},
        )  # fmt: skip

    def page(
        self,
        template: str,
        caller: Caller | None,
        *,
        http_status: int = 200,
        headers: Mapping[str, str] | None = None,
        base: str = "",
        **facts: Any,
    ) -> HTMLResponse:
        """Render a page for a caller, None for one that is not authenticated; `base` is that of the session then."""
        text = self._environment.get_template(template).render(
            caller=caller,
            base=caller.session.base if caller else base,
            http_status=http_status,
            host=_HOST,
            part="whole",
            **facts,
        )
        return HTMLResponse(text, http_status, headers)

    def page_top_first(
        self, template: str, caller: Caller, facts: Callable[[], Awaitable[Mapping[str, Any]]]
    ) -> StreamingResponse:
        """Send the top of a page at once, so that a browser shows it, and is ready, while its facts are found out.

        They are followed by what fills a screen, and that by the rest. Where `facts` raises StateUnreadable, the rest
        is that of the error; its status is one of success by then.
        """
        return StreamingResponse(self._top_first(template, caller, facts), media_type="text/html")

    async def _top_first(
        self, template: str, caller: Caller, facts: Callable[[], Awaitable[Mapping[str, Any]]]
    ) -> AsyncIterator[str]:
        known = {"caller": caller, "base": caller.session.base, "http_status": 200, "host": _HOST}
        yield self._environment.get_template(template).render(known, part="top")
        try:
            known |= await facts()
        except StateUnreadable as error:
            known |= {"http_status": 503, "detail": str(error)}
            template = "error.html"
        chunks = _chunks(self._environment.get_template(template).generate(known, part="rest"))
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            yield chunk


def _chunks(pieces: Iterable[str]) -> Iterator[str]:
    """Join the pieces of a text to chunks of some size, the first of them smaller than the others."""
    chunk: list[str] = []
    size, enough = 0, _FIRST_CHUNK
    for piece in pieces:
        chunk.append(piece)
        size += len(piece)
        if size >= enough:
            yield "".join(chunk)
            chunk, size, enough = [], 0, _CHUNK
    yield "".join(chunk)


def _finalized(value: Any) -> Any:
    return visible(value) if type(value) is str else value
