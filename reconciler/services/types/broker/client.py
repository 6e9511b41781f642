"""One conversation with a service broker: requests out, bounded answers in, and never a secret in what is said of them.

Nothing here knows what is asked for. A request that may have reached the broker and was not answered is told apart
from one that cannot have, because only the first can have left something behind.
"""

import asyncio
import base64
import json
import os
import ssl
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import field

import httpx

from reconciler.linux.dataclass import dataclass
from reconciler.planning.fingerprint import Json
from reconciler.services.provisioner import Misconfigured, Server, ServiceError
from reconciler.vault.secret_patterns import redacted

API_VERSION = "2.17"
MOST_BYTES = 1024 * 1024
_MOST_SAID = 300
_CONNECT_S = 5.0


class Unanswered(ServiceError):
    """The broker may have received the request, and did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Time limits in seconds; `step_s` and `mending_s` together stay under a minute."""

    request_s: float = 40.0
    step_s: float = 45.0
    mending_s: float = 10.0
    first_poll_s: float = 0.5
    longest_poll_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A broker's answer. `body` is None if it is not a JSON object, or larger than `MOST_BYTES`."""

    status: int
    body: Mapping[str, Json] | None = field(repr=False)
    retry_after_s: float | None = None

    def text(self, key: str) -> str:
        """Return a field of the body, empty if it is not text."""
        found = (self.body or {}).get(key)
        return found if isinstance(found, str) else ""


class BrokerSession:
    """The requests of one action to one broker, all before one deadline."""

    def __init__(
        self, client: httpx.AsyncClient, server: Server, patience: Timeouts, unspoken: tuple[str, ...]
    ) -> None:
        self._client = client
        self._secrets = (*_secrets(server), *unspoken)
        self._ends_at = asyncio.get_running_loop().time() + patience.step_s
        self.patience = patience
        self.broker = f"broker {server.name}"

    def left_s(self) -> float:
        """Return the seconds until the deadline."""
        return self._ends_at - asyncio.get_running_loop().time()

    def extend_for_cleanup(self) -> None:
        """Extend the deadline, so that a failed attempt can be cleaned up."""
        self._ends_at = max(self._ends_at, asyncio.get_running_loop().time() + self.patience.mending_s)

    def said(self, text: str) -> str:
        """Return a broker's text as one short line for a message, without secrets."""
        text = redacted(text, self._secrets)
        line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
        return line if len(line) <= _MOST_SAID else f"{line[:_MOST_SAID]}…"

    async def ask(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Mapping[str, Json] | None = None
    ) -> Answer:
        """Send one request. Raises Unanswered; ServiceError if not sent; Misconfigured on 401 and redirects."""
        limit_s = min(self.patience.request_s, self.left_s())
        if limit_s <= 0:
            raise ServiceError(f"{self.broker} took too long")
        headers = {"X-Broker-API-Request-Identity": str(uuid.uuid4())}
        try:
            async with (
                asyncio.timeout(limit_s),
                self._client.stream(method, path, params=query, json=body, headers=headers) as response,
            ):
                answer = Answer(
                    status=response.status_code,
                    body=_parsed(await _bounded(response)),
                    retry_after_s=_seconds(response.headers.get("Retry-After", "")),
                )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise ServiceError(f"cannot reach {self.broker}: {self.said(_deepest(error))}") from error
        except TimeoutError:
            raise Unanswered(f"{self.broker} did not answer within {limit_s:.0f} s") from None
        except httpx.TransportError as error:
            raise Unanswered(f"{self.broker} broke off: {self.said(str(error)) or type(error).__name__}") from error
        if answer.status in {401, 403}:
            raise Misconfigured(f"{self.broker} rejects the user, password or token in the host's settings")
        if 300 <= answer.status < 400:
            raise Misconfigured(f"{self.broker} redirects to another address: correct its url in the host's settings")
        return answer


@asynccontextmanager
async def session(
    server: Server | None, patience: Timeouts, who: Mapping[str, Json], unspoken: tuple[str, ...]
) -> AsyncIterator[BrokerSession]:
    """Talk with the broker that `server` names, on behalf of `who`, as told to the broker with every request.

    What is `unspoken` stands in no message, even if the broker says it.
    """
    if server is None:
        raise Misconfigured("no broker is named: set 'server' to one of the host's settings")
    url = _url(server)
    identity = base64.b64encode(json.dumps(who).encode()).decode()
    headers = {
        "X-Broker-API-Version": API_VERSION,
        "X-Broker-API-Originating-Identity": f"reconciler {identity}",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        **_authorization(server),
    }
    verify = await asyncio.to_thread(_trust, server) if url.scheme == "https" else False
    timeout = httpx.Timeout(None, connect=min(_CONNECT_S, patience.request_s))
    async with httpx.AsyncClient(
        base_url=url, headers=headers, verify=verify, timeout=timeout, follow_redirects=False, trust_env=False
    ) as client:
        yield BrokerSession(client, server, patience, unspoken)


def _url(server: Server) -> httpx.URL:
    """Return the broker's address, to which "/v2/…" is added."""
    said = server.options.get("url")
    try:
        url = httpx.URL(said if isinstance(said, str) else "")
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in {"http", "https"} or not url.host:
        raise Misconfigured(f"the url of broker {server.name} in the host's settings is not an http or https address")
    if url.userinfo:
        raise Misconfigured(f"the url of broker {server.name} holds a user or password: set user and password instead")
    return url.copy_with(query=None, fragment=None)


def _authorization(server: Server) -> dict[str, str]:
    """Return the authorization header: a bearer token, a user and password, or none."""
    secret = server.password.reveal() if server.password else ""
    if server.options.get("auth") == "bearer":
        if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
            raise Misconfigured(
                f"the token of broker {server.name} is empty, or has characters that are not allowed in a header"
            )
        return {"Authorization": f"Bearer {secret}"}
    if server.user is None:
        return {}
    return {"Authorization": f"Basic {_basic(server.user, secret)}"}


def _basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _secrets(server: Server) -> tuple[str, ...]:
    """Every spelling of the broker's password."""
    secret = server.password.reveal() if server.password else ""
    return (_basic(server.user or "", secret), secret) if secret else ()


def _trust(server: Server) -> ssl.SSLContext:
    """Return the TLS context that trusts `ca`, else the system's authorities."""
    ca = server.options.get("ca")
    try:
        return ssl.create_default_context(cafile=ca if isinstance(ca, str) else None)
    except OSError as error:
        raise Misconfigured(f"cannot read the ca of broker {server.name}: {error}") from error


def _deepest(error: Exception) -> str:
    """Return the system's reason for a failed connection, or the library's if there is none."""
    why = str(error) or "no connection in time"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError) and cause.errno is not None:
            why = os.strerror(cause.errno) if cause.errno > 0 else cause.strerror or why
        cause = cause.__cause__ or cause.__context__
    return why


async def _bounded(response: httpx.Response) -> bytes | None:
    """Return the raw body, None if it is too long."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MOST_BYTES:
            return None
    return bytes(body)


def _parsed(body: bytes | None) -> Mapping[str, Json] | None:
    """Parse a JSON object that can be encoded again; None for anything else."""
    try:
        found = json.loads(body or b"")
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _seconds(retry_after: str) -> float | None:
    """Parse a Retry-After in seconds; a date is ignored, since clocks may differ."""
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 10 else None
