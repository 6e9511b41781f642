"""Sessions of a PostgreSQL server, with errors in an operator's words."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, LiteralString, TypeAlias

import psycopg
from psycopg import sql

from reconciler.linux.dataclass import dataclass
from reconciler.services.provisioner import Misconfigured, ServiceError, ServiceSpec
from reconciler.services.server_connection import ConnectionParams, required_server

Statement: TypeAlias = LiteralString | sql.Composed | sql.SQL
Row: TypeAlias = tuple[Any, ...]

_CONNECT_S = 5
_OLDEST = 100_000  # SCRAM, with which the server never receives the password, came with 10
_BOUNDS = (
    "-c statement_timeout=50s -c lock_timeout=30s"  # shorter than an action's limit, so that no statement outlives it
)


class CannotConnect(ServiceError):
    """No session could be opened: the server is down, or rejects the credentials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresqlParams(ConnectionParams):
    """The server, the user and the database to connect to. A host that begins with `/` is a socket's directory."""

    database: str

    def __str__(self) -> str:
        return f"postgresql server {self.server.name} ({self.host}:{self.port})"

    @property
    def who(self) -> str:
        """The user, for messages."""
        return f"user {self.user}" if self.user else "the daemon's own user"

    @property
    def ssl(self) -> Mapping[str, str]:
        """TLS options of the host's settings by libpq's names; libpq chooses the others."""
        named = {name: self.server.options.get(name) for name in ("sslmode", "sslrootcert")}
        return {name: str(value) for name, value in named.items() if value is not None}

    @property
    def environment(self) -> dict[str, str]:
        """The parameters as environment variables for libpq's programs, which get no arguments."""
        named = {"PGHOST": self.host, "PGPORT": str(self.port), "PGDATABASE": self.database, "PGUSER": self.user}
        ssl = {f"PG{name.upper()}": value for name, value in self.ssl.items()}
        return {
            **{name: value for name, value in (*named.items(), ("PGPASSWORD", self.password)) if value},
            **ssl,
            "PGPASSFILE": "/dev/null",
            "PGCONNECT_TIMEOUT": str(_CONNECT_S),
        }


def admin_params(service: ServiceSpec, database: str | None = None) -> PostgresqlParams:
    """Return the parameters of the admin account, in its own database or another."""
    server = required_server(service)
    return PostgresqlParams(
        server=server,
        host=server.host,
        port=server.port or 5432,
        database=database or str(server.options.get("database", "postgres")),
        user=server.user,
        password=server.password.reveal() if server.password else None,
    )


class Session:
    """One connection, one statement at a time. A failure is a ServiceError with the server's message."""

    def __init__(self, params: PostgresqlParams, connection: psycopg.AsyncConnection[Row]) -> None:
        self._params = params
        self._connection = connection

    async def ask(self, statement: Statement, values: Mapping[str, object] | None = None) -> Sequence[Row]:
        """Execute a statement and return its rows."""
        with _service_error(self._params):
            cursor = await self._connection.execute(statement, values)
            return await cursor.fetchall() if cursor.description is not None else ()

    async def do(self, words: LiteralString, *names: str | sql.Literal) -> None:
        """Execute a statement with a quoted name, or a literal, for each `{}`."""
        parts = (sql.Identifier(each) if isinstance(each, str) else each for each in names)
        await self.ask(sql.SQL(words).format(*parts))

    def verifier(self, user: str, password: str) -> sql.Literal:
        """Return the SCRAM verifier of a password, computed here so that no server log holds the password."""
        made = self._connection.pgconn.encrypt_password(password.encode(), user.encode(), b"scram-sha-256")
        return sql.Literal(made.decode())

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Run the statements inside as one transaction."""
        with _service_error(self._params):
            async with self._connection.transaction():
                yield


@asynccontextmanager
async def opened(params: PostgresqlParams) -> AsyncIterator[Session]:
    """Open a session in which each statement commits. Raises CannotConnect if the server is down or rejects it."""
    try:
        connection = await psycopg.AsyncConnection[Row].connect(
            host=params.host,
            port=params.port,
            dbname=params.database,
            user=params.user,
            password=params.password,
            passfile="/dev/null",
            connect_timeout=_CONNECT_S,
            application_name="reconciler",
            client_encoding="utf8",
            autocommit=True,
            options=_BOUNDS,
            **params.ssl,  # type: ignore[arg-type] # psycopg names only some of libpq's parameters
        )
    except psycopg.Error as error:
        raise CannotConnect(_why_not_connected(params, error)) from None
    try:
        if connection.info.server_version < _OLDEST:
            raise Misconfigured(f"{params} is older than PostgreSQL 10")
        yield Session(params, connection)
    finally:
        await connection.close()


@contextmanager
def _service_error(params: PostgresqlParams) -> Iterator[None]:
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise ServiceError(f"{params} denies {params.who} access: {_message(params, error)}") from None
    except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled):
        raise ServiceError(f"{params} is still busy with another statement that blocks this one") from None
    except psycopg.OperationalError as error:
        raise ServiceError(f"{params} broke the connection: {_message(params, error)}") from None
    except psycopg.Error as error:
        raise ServiceError(f"{params}: {_message(params, error)}") from None


def _why_not_connected(params: PostgresqlParams, error: psycopg.Error) -> str:
    words = str(error)
    if isinstance(error, psycopg.errors.ConnectionTimeout) or "timeout expired" in words:
        return f"{params} did not answer within {_CONNECT_S} s"
    if "Connection refused" in words or "No such file or directory" in words:
        return f"{params} refused the connection"
    if "server closed the connection" in words:
        return f"{params} broke the connection"
    return f"{params} rejects {params.who}: {_message(params, error)}"


def _message(params: PostgresqlParams, error: psycopg.Error) -> str:
    """Return the first line of the error, which holds names but no statement and no password."""
    words = error.diag.message_primary or str(error).strip().partition("\n")[0] or type(error).__name__
    return params.quoted(words.rpartition("FATAL:  ")[2])
