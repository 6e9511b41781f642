"""Connect to a server of the host's settings: with which parameters, for how long, and how its errors are quoted.

An error names the server and the user, and never holds a password.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import field, replace
from typing import Self
from urllib.parse import quote

from reconciler.linux.dataclass import dataclass
from reconciler.services.provisioner import Credentials, Misconfigured, Server, ServiceError, ServiceSpec
from reconciler.vault.secret_patterns import redacted

_MAX_QUOTE = 300
_REACHED_S = 5.0


class AuthenticationFailed(ServiceError):
    """The server answers, and rejects these credentials, or what they are used for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionParams:
    """A server, and the user to connect as. A host that begins with `/` is a socket."""

    server: Server
    host: str
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        address = self.socket or f"{self.host}:{self.port}"
        return f"{self.server.type} server {self.server.name} ({address})"

    @property
    def socket(self) -> str | None:
        """The path of the socket, None to connect over TCP."""
        return self.host if self.host.startswith("/") else None

    @property
    def ca(self) -> str | None:
        """The file with the certificates that the server's must be signed by; with it the connection is encrypted."""
        named = self.server.options.get("ssl_ca")
        return None if named is None else str(named)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message may quote."""
        return (self.password,) if self.password else ()

    def for_app(self, credentials: Credentials) -> Self:
        """Return the parameters with which an app connects, by its credentials."""
        return replace(
            self,
            host=str(credentials["host"]),
            port=int(str(credentials["port"])),
            user=str(credentials["user"]),
            password=str(credentials["password"]),
        )

    def quoted(self, error: object) -> str:
        """Return what the server or its library said, short and without the password."""
        return redacted(str(error), self.secrets)[:_MAX_QUOTE]


def required_server(service: ServiceSpec) -> Server:
    """Return the server that a service is on. Raises Misconfigured if the host's settings name none."""
    if service.server is None:
        raise Misconfigured(f"service {service.name}: the host's settings name no {service.type} server for it")
    return service.server


def app_address(server: Server, default_port: int) -> tuple[str, int]:
    """Return the host and port at which apps reach a server, which may differ from the daemon's."""
    host = str(server.options.get("app_host", server.host))
    return host, int(str(server.options.get("app_port", server.port or default_port)))


async def is_for_apps_alone(server: Server | None, credentials: Credentials) -> bool:
    """Return whether only apps reach the server where they do, as pods may: this host cannot try what they have."""
    if server is None or not {"app_host", "app_port"} & server.options.keys():
        return False
    host, port = str(credentials.get("host", "")), int(str(credentials.get("port") or 0))
    own = server.host, server.port or port
    return (host, port) != own and not await _is_reached(host, port) and await _is_reached(*own)


async def _is_reached(host: str, port: int) -> bool:
    """Return whether anything takes connections there; of a socket, the programs that use it say so."""
    if host.startswith("/"):
        return True
    try:
        async with asyncio.timeout(_REACHED_S):
            _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


def url_authority(user: str, password: str, host: str, port: int | None) -> str:
    """Return user, password, host and port as they stand in a URL; without a port, the host as it is."""
    where = "" if port is None else f":{port}"
    return f"{url_userinfo(user, password)}@{f'[{host}]' if ':' in host else host}{where}"


def url_userinfo(user: str, password: str) -> str:
    """Return user and password as they stand in a URL."""
    return f"{quote(user, safe='')}:{quote(password, safe='')}"


@asynccontextmanager
async def answering(server: object, timeout_s: float) -> AsyncIterator[None]:
    """Give the server so many seconds. Raises ServiceError if it takes longer."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        raise ServiceError(f"{server} did not answer within {timeout_s:g} s") from None
