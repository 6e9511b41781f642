"""The page of a log: its last lines or those that hold the words to find, and the way to older ones."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from reconciler.inspection.log_pages import LogPage, log_page
from reconciler.inspection.log_redaction import log_redactor
from reconciler.linux.error_words import in_words
from reconciler.state.paths import StatePaths
from reconciler.web.api import log_of
from reconciler.web.authentication import Caller
from reconciler.web.context import WebContext
from reconciler.web.endpoints import LOGS, SHOW, WHICH, Number
from reconciler.web.formatting import query
from reconciler.web.rendering import Templates
from reconciler.web.responses import Problem

_LONGEST_WORDS = 200
_BEFORE = Number(name="before", description="The byte at which the page ends.", default=0, least=0, most=1 << 50)


async def log_view(context: WebContext, templates: Templates, request: Request, caller: Caller) -> Response:
    """Answer with a page of an app's log; raises Problem."""
    status = await context.status_cache.now()
    file = log_of(context, request, status)
    name, which = str(request.path_params["name"]), WHICH.read(request)
    words = request.query_params.get("q", "").strip()[:_LONGEST_WORDS]
    folded = not words and ("show" not in request.query_params or SHOW.read(request) == "folded")
    before = _BEFORE.read(request) if "before" in request.query_params else None

    shown = "" if folded or words else "written"

    def rendered() -> Response:
        try:
            page = log_page(file, log_redactor(context.settings, name), before=before, words=words, fold=folded)
        except OSError as error:
            raise Problem(503, f"cannot read the log: {in_words(error)}") from error
        return templates.page(
            "log.html",
            caller,
            status=status,
            name=name,
            logs=LOGS if which in LOGS else (*LOGS, which),
            which=which,
            words=words,
            page=page,
            follows=before is None,
            folded=folded,
            older=query(which=which, q=words, show=shown, before=str(page.start)) if page.start > 0 else "",
            newest=query(which=which, q=words, show=shown),
            other=query(which=which, show="written" if folded else ""),
            searched=_searched(page) if words else "",
        )

    return await asyncio.to_thread(rendered)


def _searched(page: LogPage) -> str:
    """Return the part of the log that a search went through, for people."""
    if not page.size or (page.start == 0 and page.end == page.size):
        return "the whole log"
    return f"{_share(page.start, page.size)} to {_share(page.end, page.size)} of the log"


def _share(at: int, size: int) -> str:
    return f"{100 * at // size}\u00a0%"


def first_log(app: Mapping[str, Any], paths: StatePaths) -> str:
    """Return the log that explains the most: of an app that fails without serving, the one last written to."""
    if app["revision"] is not None or app["state"] not in {"staging", "failing"}:
        return "app"
    return max(("app", "staging"), key=lambda which: _written_at(paths.log(str(app["name"]), which)))


def _written_at(log: Path) -> float:
    try:
        return log.stat().st_mtime
    except OSError:
        return 0.0
