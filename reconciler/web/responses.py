"""Responses whose text is safe to print: invisible characters are escaped in JSON."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from reconciler.inspection.printable import json_text


class JsonAnswer(JSONResponse):
    """JSON in which letters of every script stay readable."""

    def render(self, content: Any) -> bytes:
        return json_text(content).encode()


class Problem(HTTPException):
    """Raised to answer with a problem; `detail` says what happened, why, and what to do."""


class ProblemResponse(JsonAnswer):
    """A problem by RFC 9457; `type` is about:blank, since the status names the kind of problem."""

    media_type = "application/problem+json"


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> ProblemResponse:
    """Return the answer to a request that failed or was refused."""
    content: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    return ProblemResponse({**content, "detail": detail}, status, headers)


def named(rows: Iterable[Mapping[str, Any]], name: str, what: str) -> Mapping[str, Any]:
    """Return the row of that name; raises Problem, which says that there is no such `what`."""
    row = next((each for each in rows if each["name"] == name), None)
    if row is None:
        raise Problem(404, f"there is no {what} with that name on this host")
    return row
