"""How to get into a PostgreSQL server, and what went wrong there in an operator's words, without a secret."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString, TypeAlias

import psycopg
from psycopg import sql

from reconciler.services.provisioner import Misconfigured, ServiceError, ServiceSpec
from reconciler.services.server_connection import ConnectionParams, required_server

Statement: TypeAlias = LiteralString | sql.Composed | sql.SQL
Row: TypeAlias = tuple[Any, ...]

_CONNECT_S = 5
_OLDEST = 100_000  # SCRAM, and with it a password that the server never sees, came with 10
_BOUNDS = "-c statement_timeout=50s -c lock_timeout=30s"  # longer than any step takes, so that nothing stays behind


class CannotConnect(ServiceError):
    """Nobody was let in: the server is down, or does not accept these credentials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresqlParams(ConnectionParams):
    """The server, the user and the database to connect to. A host that begins with `/` is a socket's directory."""

    database: str

    def __str__(self) -> str:
        return f"postgresql server {self.server.name} ({self.host}:{self.port})"

    @property
    def who(self) -> str:
        """Whoever connects, by name."""
        return f"user {self.user}" if self.user else "this process's own user"

    @property
    def ssl(self) -> Mapping[str, str]:
        """The host's settings about encryption, by libpq's names; what is not set is libpq's to choose."""
        named = {name: self.server.options.get(name) for name in ("sslmode", "sslrootcert")}
        return {name: str(value) for name, value in named.items() if value is not None}

    @property
    def environment(self) -> dict[str, str]:
        """The same for libpq's programs: nothing of it is in an argument."""
        named = {"PGHOST": self.host, "PGPORT": str(self.port), "PGDATABASE": self.database, "PGUSER": self.user}
        ssl = {f"PG{name.upper()}": value for name, value in self.ssl.items()}
        return {
            **{name: value for name, value in (*named.items(), ("PGPASSWORD", self.password)) if value},
            **ssl,
            "PGPASSFILE": "/dev/null",
            "PGCONNECT_TIMEOUT": str(_CONNECT_S),
        }


def admin_params(service: ServiceSpec, database: str | None = None) -> PostgresqlParams:
    """The account that the host's settings name, in the database it administers from or in another."""
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
    """One connection, one statement at a time; what fails is a ServiceError in the server's own words."""

    def __init__(self, params: PostgresqlParams, connection: psycopg.AsyncConnection[Row]) -> None:
        self._params = params
        self._connection = connection

    async def ask(self, statement: Statement, values: Mapping[str, object] | None = None) -> Sequence[Row]:
        """The rows it answers with."""
        with _service_error(self._params):
            cursor = await self._connection.execute(statement, values)
            return await cursor.fetchall() if cursor.description is not None else ()

    async def do(self, words: LiteralString, *names: str | sql.Literal) -> None:
        """A statement with a quoted name, or a literal, for each `{}`."""
        parts = (sql.Identifier(each) if isinstance(each, str) else each for each in names)
        await self.ask(sql.SQL(words).format(*parts))

    def verifier(self, user: str, password: str) -> sql.Literal:
        """What the server keeps of a password: made here, so that no log of the server's ever has the password."""
        made = self._connection.pgconn.encrypt_password(password.encode(), user.encode(), b"scram-sha-256")
        return sql.Literal(made.decode())

    @asynccontextmanager
    async def at_once(self) -> AsyncIterator[None]:
        """What is done inside happens together or not at all."""
        with _service_error(self._params):
            async with self._connection.transaction():
                yield


@asynccontextmanager
async def opened(params: PostgresqlParams) -> AsyncIterator[Session]:
    """A session in which each statement is a transaction of its own; CannotConnect when there is none to be had."""
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
        raise CannotConnect(_why_shut(params, error)) from None
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
        raise ServiceError(f"{params} does not allow this to {params.who}: {_said(params, error)}") from None
    except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled):
        raise ServiceError(f"{params} is still busy with another statement that blocks this one") from None
    except psycopg.OperationalError as error:
        raise ServiceError(f"{params} broke the connection: {_said(params, error)}") from None
    except psycopg.Error as error:
        raise ServiceError(f"{params}: {_said(params, error)}") from None


def _why_shut(params: PostgresqlParams, error: psycopg.Error) -> str:
    words = str(error)
    if isinstance(error, psycopg.errors.ConnectionTimeout) or "timeout expired" in words:
        return f"{params} did not answer within {_CONNECT_S} s"
    if "Connection refused" in words or "No such file or directory" in words:
        return f"{params} refused the connection"
    if "server closed the connection" in words:
        return f"{params} broke the connection"
    return f"{params} rejects {params.who}: {_said(params, error)}"


def _said(params: PostgresqlParams, error: psycopg.Error) -> str:
    """The first line of what the server or its library said: names, no statement, and never a password."""
    words = error.diag.message_primary or str(error).strip().partition("\n")[0] or type(error).__name__
    return params.quoted(words.rpartition("FATAL:  ")[2])
