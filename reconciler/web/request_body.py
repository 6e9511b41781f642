"""Read the body of a request, bounded in size and time."""

import asyncio
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from reconciler.web.responses import Problem

LARGEST_BODY = 16 * 1024
_BODY_WITHIN_S = 10.0


def media_type(request: Request) -> str:
    """Return the media type of the body, in lower case and without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request) -> bytes:
    """Return the whole body; raises Problem when it is too large or takes too long to arrive."""
    content = b""
    try:
        async with asyncio.timeout(_BODY_WITHIN_S):
            async for chunk in request.stream():
                content += chunk
                if len(content) > LARGEST_BODY:
                    raise Problem(413, f"a request may have at most {LARGEST_BODY} bytes")
    except TimeoutError:
        raise Problem(408, "the request did not arrive in time") from None
    except ClientDisconnect:
        raise Problem(400, "the request did not arrive") from None
    return content


async def read_form(request: Request) -> Mapping[str, str]:
    """Return the fields of a form that a page sent; raises Problem."""
    if media_type(request) != "application/x-www-form-urlencoded":
        raise Problem(415, "expected a form")
    try:
        text = (await read_body(request)).decode("ascii")
        fields = parse_qsl(text, keep_blank_values=True, max_num_fields=20, errors="strict")
    except ValueError:
        raise Problem(400, "the body is not a valid form") from None
    form = dict(fields)
    if len(form) < len(fields):
        raise Problem(400, "the form has a field more than once")
    return form
