"""Sessions of a Redis server, with errors in an operator's words."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis.exceptions as failure
from redis.asyncio import Redis as Connection
from redis.asyncio import UnixDomainSocketConnection
from redis.asyncio.connection import Connection as TcpConnection
from redis.asyncio.connection import ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from reconciler.linux.dataclass import dataclass
from reconciler.services.provisioner import ServiceError, ServiceSpec
from reconciler.services.server_connection import AuthenticationFailed, ConnectionParams, answering, required_server

_CONNECT_S = 5
_COMMAND_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisParams(ConnectionParams):
    """The server, the user and the numbered database to connect to."""

    database: int = 0


def admin_params(service: ServiceSpec, database: int = 0) -> RedisParams:
    """Return the parameters of the admin account; without a user, the password is the server's."""
    server = required_server(service)
    return RedisParams(
        server=server,
        host=server.host,
        port=server.port or 6379,
        user=server.user,
        password=server.password.reveal() if server.password else None,
        database=database,
    )


class Session:
    """One connection, one command at a time. A failure is a ServiceError with the server's message."""

    def __init__(self, params: RedisParams, connection: Connection) -> None:
        self._params = params
        self._connection = connection

    async def do(self, *command: str | bytes | int) -> Any:
        """Execute a command and return its answer; names and values are bytes."""
        try:
            return await self._connection.execute_command(*command)  # type: ignore[no-untyped-call]
        except (failure.RedisError, OSError) as error:
            raise _service_error(self._params, error) from None


@asynccontextmanager
async def opened(params: RedisParams) -> AsyncIterator[Session]:
    """Open a session and check that the server answers."""
    options: dict[str, Any] = {
        "db": params.database,
        "username": params.user,
        "password": params.password,
        "socket_connect_timeout": _CONNECT_S,
        "socket_timeout": _COMMAND_S,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    if params.socket:
        pool = ConnectionPool(connection_class=UnixDomainSocketConnection, path=params.host, **options)
    elif params.ca is not None:
        address: dict[str, Any] = {"host": params.host, "port": params.port, "ssl_ca_certs": params.ca}
        pool = ConnectionPool(connection_class=SSLConnection, **address, **options)
    else:
        pool = ConnectionPool(connection_class=TcpConnection, host=params.host, port=params.port, **options)
    connection = Connection(connection_pool=pool, single_connection_client=True)
    session = Session(params, connection)
    try:
        async with answering(params, _CONNECT_S):
            await session.do("PING")
        yield session
    finally:
        await connection.aclose(close_connection_pool=True)
        await pool.disconnect()


def _service_error(params: RedisParams, error: Exception) -> ServiceError:
    who = f"user {params.user}" if params.user else "the user with its password"
    message = params.quoted(error)
    if isinstance(error, failure.AuthenticationError):
        return AuthenticationFailed(f"{params} rejects {who}: {message}")
    if isinstance(error, failure.NoPermissionError):
        return AuthenticationFailed(f"{params} denies {who} access: {message}")
    if isinstance(error, failure.BusyLoadingError):
        return ServiceError(f"{params} is still loading its data")
    if isinstance(error, failure.TimeoutError | TimeoutError):
        return ServiceError(f"{params} did not answer in time")
    if isinstance(error, failure.ConnectionError | OSError):
        return ServiceError(f"{params} {'refused' if _is_refused(error) else 'broke'} the connection")
    return ServiceError(f"{params}: {message}")


def _is_refused(error: BaseException | None) -> bool:
    """Return whether nothing accepted the connection; the library's own error says so in many ways."""
    while error is not None:
        if isinstance(error, ConnectionRefusedError | FileNotFoundError):
            return True
        error = error.__cause__ or error.__context__
    return False
