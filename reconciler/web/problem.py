"""What went wrong, as RFC 9457 says it: application/problem+json."""

from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException

from reconciler.web.answer import JsonAnswer


class Problem(HTTPException):
    """Raise it to answer with a problem; `detail` says what, why and what to do."""


class ProblemResponse(JsonAnswer):
    """`type` is about:blank: the status says what kind of problem it is."""

    media_type = "application/problem+json"


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> ProblemResponse:
    """The answer to a request that is not granted."""
    content: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    return ProblemResponse({**content, "detail": detail}, status, headers)
