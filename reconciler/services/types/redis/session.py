"""How to get into a Redis server, and what went wrong there in an operator's words, without a secret."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import redis.exceptions as failure
from redis.asyncio import Redis as Connection
from redis.asyncio import UnixDomainSocketConnection
from redis.asyncio.connection import Connection as TcpConnection
from redis.asyncio.connection import ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from reconciler.services.provisioner import Misconfigured, Server, ServiceError, ServiceSpec
from reconciler.vault.secret_patterns import redacted

_CONNECT_S = 5
_COMMAND_S = 30
_LONGEST_WORDS = 300


class AuthenticationFailed(ServiceError):
    """The server is there, and does not accept these credentials, or not for this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionParams:
    """Where, as whom, and into which numbered database. A host that begins with `/` is a socket."""

    server: Server
    host: str
    port: int
    user: str | None
    password: str | None = field(repr=False)
    database: int = 0

    def __str__(self) -> str:
        where = self.host if self.is_socket else f"{self.host}:{self.port}"
        return f"redis server {self.server.name} ({where})"

    @property
    def is_socket(self) -> bool:
        return self.host.startswith("/")

    @property
    def authority(self) -> str | None:
        """The file with the certificates that the server's must be signed by; with it the connection is encrypted."""
        named = self.server.options.get("ssl_ca")
        return None if named is None else str(named)


def admin_params(service: ServiceSpec, database: int = 0) -> ConnectionParams:
    """The account that the host's settings name; without a user, the password is the server's own."""
    server = service.server
    if server is None:
        raise Misconfigured(f"service {service.name}: no redis server is set for it")
    return ConnectionParams(
        server=server,
        host=server.host,
        port=server.port or 6379,
        user=server.user,
        password=server.password.reveal() if server.password else None,
        database=database,
    )


class Session:
    """One connection, one command at a time; what fails is a ServiceError in the server's own words."""

    def __init__(self, door: ConnectionParams, connection: Connection) -> None:
        self._door = door
        self._connection = connection

    async def do(self, *command: str | bytes | int) -> Any:
        """Its answer, as the client's library reads it; names and values are bytes."""
        try:
            return await self._connection.execute_command(*command)  # type: ignore[no-untyped-call]
        except (failure.RedisError, OSError) as error:
            raise _in_words(self._door, error) from None


@asynccontextmanager
async def opened(door: ConnectionParams) -> AsyncIterator[Session]:
    """A session that is tried, so that it is known to be one."""
    how: dict[str, Any] = {
        "db": door.database,
        "username": door.user,
        "password": door.password,
        "socket_connect_timeout": _CONNECT_S,
        "socket_timeout": _COMMAND_S,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    if door.is_socket:
        pool = ConnectionPool(connection_class=UnixDomainSocketConnection, path=door.host, **how)
    elif door.authority is not None:
        where: dict[str, Any] = {"host": door.host, "port": door.port, "ssl_ca_certs": door.authority}
        pool = ConnectionPool(connection_class=SSLConnection, **where, **how)
    else:
        pool = ConnectionPool(connection_class=TcpConnection, host=door.host, port=door.port, **how)
    connection = Connection(connection_pool=pool, single_connection_client=True)
    session = Session(door, connection)
    try:
        try:
            async with asyncio.timeout(_CONNECT_S):
                await session.do("PING")
        except TimeoutError:
            raise ServiceError(f"{door} did not answer within {_CONNECT_S} s") from None
        yield session
    finally:
        await connection.aclose(close_connection_pool=True)
        await pool.disconnect()


def _in_words(door: ConnectionParams, error: Exception) -> ServiceError:
    who = f"user {door.user}" if door.user else "whoever has its password"
    words = redacted(str(error), (door.password or "",))[:_LONGEST_WORDS]
    if isinstance(error, failure.AuthenticationError):
        return AuthenticationFailed(f"{door} does not let {who} in: {words}")
    if isinstance(error, failure.NoPermissionError):
        return AuthenticationFailed(f"{door} does not allow this to {who}: {words}")
    if isinstance(error, failure.BusyLoadingError):
        return ServiceError(f"{door} is still loading its data")
    if isinstance(error, failure.TimeoutError | TimeoutError):
        return ServiceError(f"{door} did not answer in time")
    if isinstance(error, failure.ConnectionError | OSError):
        refused = "refused" in words or "No such file" in words
        return ServiceError(f"{door} {'refused' if refused else 'broke'} the connection")
    return ServiceError(f"{door}: {words}")
