"""Responses whose text is safe to print: invisible characters are escaped in JSON."""

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
