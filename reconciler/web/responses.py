"""Facts in, an answer out that a terminal may print: JSON in which what cannot be seen is escaped."""

from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from reconciler.inspection.printable import json_text


class JsonAnswer(JSONResponse):
    """Letters stay letters."""

    def render(self, content: Any) -> bytes:
        return json_text(content).encode()


class Problem(HTTPException):
    """Raise it to answer with a problem; `detail` says what, why and what to do."""


class ProblemResponse(JsonAnswer):
    """`type` is about:blank: the status says what kind of problem it is."""

    media_type = "application/problem+json"


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> ProblemResponse:
    """The answer to a request that is not granted."""
    content: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    return ProblemResponse({**content, "detail": detail}, status, headers)
