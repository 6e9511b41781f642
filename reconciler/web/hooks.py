"""The webhooks of git servers: each has a repository looked at, and says nothing else.

A body is hashed as it comes in, and neither kept nor read: what is new in a repository is found by looking there. That
is why a webhook that is sent again does no harm.
"""

import asyncio
import secrets
from pathlib import Path

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from reconciler.settings.tokens import token_of
from reconciler.web.context import WebContext
from reconciler.web.hook_signatures import HookSignature
from reconciler.web.responses import Problem

PREFIX = "/hooks/"
LARGEST_BODY = 25 * 1024 * 1024  # which is GitHub's limit
_BODY_WITHIN_S = 10.0
_BEARER = {"WWW-Authenticate": "Bearer"}


class Hooks:
    """The webhooks of the repositories that have one."""

    def __init__(self, context: WebContext) -> None:
        self._context = context
        repositories = context.settings.repositories.values()
        self._secrets = {each.name: each.webhook for each in repositories if each.webhook is not None}

    def routes(self) -> list[Route]:
        """Return the route of webhooks, none where no repository has one."""
        return [Route(f"{PREFIX}{{repository}}", self.called, methods=["POST"])] if self._secrets else []

    async def called(self, request: Request) -> Response:
        """Have a repository looked at, and answer before that is done; raises Problem."""
        name = request.path_params["repository"]
        try:
            await self._check(request, self._secrets.get(name))
        except Problem:
            self._context.refused_webhooks[name if name in self._secrets else ""] += 1
            raise
        await self._context.ask({"do": "origin", "action": "hook", "repository": name})
        return Response(status_code=202)

    async def _check(self, request: Request, file: Path | None) -> None:
        """Raise Problem unless the sender knows the secret in a file.

        Of a repository without a webhook, or with a secret that cannot be used, no more is told than of one with
        another secret: 'reconciler doctor' tells the operator.
        """
        secret = None if file is None else _secret_in(file)
        signature = HookSignature(request.headers, secrets.token_bytes(32) if secret is None else secret)
        if signature.is_there:
            await _read(request, signature)
        if not signature.is_genuine() or secret is None:
            raise Problem(401, "this is not signed with the secret of a webhook", _BEARER)


async def _read(request: Request, signature: HookSignature) -> None:
    """Hash the body of a request as it comes in. Raises Problem."""
    size = 0
    try:
        async with asyncio.timeout(_BODY_WITHIN_S):
            async for block in request.stream():
                size += len(block)
                if size > LARGEST_BODY:
                    raise Problem(413, f"a webhook may have at most {LARGEST_BODY} bytes")
                signature.add(block)
    except TimeoutError:
        raise Problem(408, "the request did not arrive in time") from None
    except ClientDisconnect:
        raise Problem(400, "the request did not arrive") from None


def _secret_in(file: Path) -> bytes | None:
    """Return the secret, read each time, so that another one counts at once; None if it cannot be used."""
    try:
        return token_of(file).encode()
    except (OSError, ValueError):
        return None
