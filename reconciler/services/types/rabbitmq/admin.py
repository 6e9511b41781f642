"""Manage a RabbitMQ server's virtual hosts, users and permissions, by its management API or by rabbitmqctl.

Each call is idempotent. The server receives the hash of a password only.
"""

import base64
import hashlib
import json
import os
import ssl
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Protocol, Self
from urllib.parse import quote

import httpx

from reconciler.linux.dataclass import dataclass
from reconciler.services import server_tools
from reconciler.services.provisioner import Server, ServiceError

_CONNECT_S = 5
_ANSWER_S = 30
_MAX_QUOTE = 300
_ALGORITHM = "rabbit_password_hashing_sha256"
_EVERYTHING = {"configure": ".*", "write": ".*", "read": ".*"}
_PACKAGE = "rabbitmq-server"


class Administration(Protocol):
    """The administration of one server."""

    async def make_vhost(self, vhost: str) -> None: ...

    async def make_user(self, user: str, password: str) -> None:
        """Create a user with this password and without a tag, so that it administers nothing."""
        ...

    async def permit(self, user: str, vhost: str) -> None:
        """Give a user full access to a virtual host."""
        ...

    async def drop_user(self, user: str) -> None:
        """Delete a user, which closes its connections."""
        ...

    async def drop_vhost(self, vhost: str) -> None: ...

    async def size_bytes(self, vhost: str) -> int | None: ...


def administration(server: Server) -> AbstractAsyncContextManager[Administration]:
    """Return an administration by rabbitmqctl if the host's settings name it, else by the management API."""
    if server.options.get("rabbitmqctl"):
        return nullcontext(_Ctl(server=server))
    return _Api(server)


def server_label(server: Server) -> str:
    return f"rabbitmq server {server.name} ({server.host}:{_port(server)})"


def _port(server: Server) -> int:
    return int(str(server.options.get("management_port", 15672)))


def tls_context(server: Server) -> ssl.SSLContext | None:
    """Return the TLS context for AMQP and the API, None without `ssl_ca`."""
    named = server.options.get("ssl_ca")
    return None if named is None else ssl.create_default_context(cafile=str(named))


def _hashed(password: str) -> str:
    """Return the hash that RabbitMQ stores: https://www.rabbitmq.com/docs/passwords#computing-password-hash."""
    salt = os.urandom(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


class _BadRequest(ServiceError):
    """The server answered 400."""


class _Api:
    """The management API; the names in its paths are quoted whole."""

    def __init__(self, server: Server) -> None:
        encrypted = tls_context(server)
        host = f"[{server.host}]" if ":" in server.host else server.host
        self._server = server
        self._client = httpx.AsyncClient(
            base_url=f"{'https' if encrypted else 'http'}://{host}:{_port(server)}/api/",
            auth=(server.user or "guest", server.password.reveal() if server.password else "guest"),
            timeout=httpx.Timeout(_ANSWER_S, connect=_CONNECT_S),
            verify=encrypted or False,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def make_vhost(self, vhost: str) -> None:
        await self._request("PUT", f"vhosts/{quote(vhost, safe='')}", {})

    async def make_user(self, user: str, password: str) -> None:
        asked = {"password_hash": _hashed(password), "hashing_algorithm": _ALGORITHM, "tags": ""}
        path = f"users/{quote(user, safe='')}"
        try:
            await self._request("PUT", path, asked)
        except _BadRequest:  # another request created the user at the same moment: now there is one to change
            await self._request("PUT", path, asked)

    async def permit(self, user: str, vhost: str) -> None:
        await self._request("PUT", f"permissions/{quote(vhost, safe='')}/{quote(user, safe='')}", _EVERYTHING)

    async def drop_user(self, user: str) -> None:
        await self._request("DELETE", f"users/{quote(user, safe='')}")

    async def drop_vhost(self, vhost: str) -> None:
        await self._request("DELETE", f"vhosts/{quote(vhost, safe='')}")

    async def size_bytes(self, vhost: str) -> int | None:
        found = await self._request("GET", f"queues/{quote(vhost, safe='')}")
        return sum(int(queue.get("message_bytes") or 0) for queue in found or ())

    async def _request(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        """Send a request and return the answer, None if it is empty or 404."""
        server = server_label(self._server)
        try:
            answer = await self._client.request(method, path, json=body)
        except httpx.TimeoutException:
            raise ServiceError(f"{server} did not answer in time") from None
        except httpx.ConnectError:
            raise ServiceError(f"{server} refused the connection") from None
        except httpx.HTTPError as error:
            raise ServiceError(f"{server} broke the connection ({type(error).__name__})") from None
        if answer.status_code == 404:
            return None
        if answer.status_code == 401:
            raise ServiceError(f"{server} rejects user {self._server.user or 'guest'} as administrator")
        if answer.is_error:
            kind = _BadRequest if answer.status_code == 400 else ServiceError
            raise kind(f"{server} answered {answer.status_code}: {_reason(answer)}")
        return answer.json() if answer.content else None


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["reason"])[:_MAX_QUOTE]
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ctl:
    """rabbitmqctl on this host, run as the daemon's user: root, or the server's own."""

    server: Server

    async def make_vhost(self, vhost: str) -> None:
        await self._import({"vhosts": [{"name": vhost}]})

    async def make_user(self, user: str, password: str) -> None:
        entry = {"name": user, "password_hash": _hashed(password), "hashing_algorithm": _ALGORITHM, "tags": ""}
        await self._import({"users": [entry]})

    async def permit(self, user: str, vhost: str) -> None:
        await self._import({"permissions": [{"user": user, "vhost": vhost, **_EVERYTHING}]})

    async def drop_user(self, user: str) -> None:
        if user in await self._list("list_users", "user"):
            await self._run("delete_user", user)

    async def drop_vhost(self, vhost: str) -> None:
        if vhost in await self._list("list_vhosts", "name"):
            await self._run("delete_vhost", vhost)

    async def size_bytes(self, vhost: str) -> int | None:
        sizes = await self._list("list_queues", "message_bytes", "-p", vhost, "message_bytes")
        return sum(int(size or 0) for size in sizes)

    async def _import(self, definitions: Mapping[str, object]) -> None:
        await self._run("import_definitions", stdin=json.dumps(definitions).encode())

    async def _list(self, command: str, field: str, *more: str) -> list[Any]:
        printed = await self._run("--formatter", "json", command, *more)
        return [entry[field] for entry in json.loads(printed or b"[]")]

    async def _run(self, *arguments: str, stdin: bytes | None = None) -> bytes:
        program = str(self.server.options["rabbitmqctl"])
        argv = (program, "--quiet", *(arguments))
        home = {name: os.environ[name] for name in ("HOME", "ERL_EPMD_PORT", "RABBITMQ_NODENAME") if name in os.environ}
        node = self.server.options.get("node")
        named = {"RABBITMQ_NODENAME": str(node)} if node else {}
        return await server_tools.answer(
            server_tools.Tool(argv=argv, package=_PACKAGE, environment={**home, **named}), stdin, _ANSWER_S
        )
