"""How to get into a PostgreSQL server, and what went wrong there in an operator's words, without a secret."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, LiteralString, TypeAlias

import psycopg
from psycopg import sql

from reconciler.services.provisioner import Misconfigured, Server, ServiceError, ServiceSpec
from reconciler.vault.secret_patterns import redacted

Statement: TypeAlias = LiteralString | sql.Composed | sql.SQL
Row: TypeAlias = tuple[Any, ...]

_CONNECT_S = 5
_OLDEST = 100_000  # SCRAM, and with it a password that the server never sees, came with 10
_LONGEST_WORDS = 300
_BOUNDS = "-c statement_timeout=50s -c lock_timeout=30s"  # longer than any step takes, so that nothing stays behind


class CannotConnect(ServiceError):
    """Nobody was let in: the server is down, or does not accept these credentials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionParams:
    """Where and as whom to connect. A host that begins with `/` is the directory of a socket."""

    server: Server
    host: str
    port: int
    database: str
    user: str | None
    password: str | None = field(repr=False)

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


def admin_params(service: ServiceSpec, database: str | None = None) -> ConnectionParams:
    """The account that the host's settings name, in the database it administers from or in another."""
    server = service.server
    if server is None:
        raise Misconfigured(f"service {service.name}: no postgresql server is set for it")
    return ConnectionParams(
        server=server,
        host=server.host,
        port=server.port or 5432,
        database=database or str(server.options.get("database", "postgres")),
        user=server.user,
        password=server.password.reveal() if server.password else None,
    )


class Session:
    """One connection, one statement at a time; what fails is a ServiceError in the server's own words."""

    def __init__(self, door: ConnectionParams, connection: psycopg.AsyncConnection[Row]) -> None:
        self._door = door
        self._connection = connection

    async def ask(self, statement: Statement, values: Mapping[str, object] | None = None) -> Sequence[Row]:
        """The rows it answers with."""
        with _in_words(self._door):
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
        with _in_words(self._door):
            async with self._connection.transaction():
                yield


@asynccontextmanager
async def opened(door: ConnectionParams) -> AsyncIterator[Session]:
    """A session in which each statement is a transaction of its own; CannotConnect when there is none to be had."""
    try:
        connection = await psycopg.AsyncConnection[Row].connect(
            host=door.host,
            port=door.port,
            dbname=door.database,
            user=door.user,
            password=door.password,
            passfile="/dev/null",
            connect_timeout=_CONNECT_S,
            application_name="reconciler",
            client_encoding="utf8",
            autocommit=True,
            options=_BOUNDS,
            **door.ssl,  # type: ignore[arg-type] # psycopg names only some of libpq's parameters
        )
    except psycopg.Error as error:
        raise CannotConnect(_why_shut(door, error)) from None
    try:
        if connection.info.server_version < _OLDEST:
            raise Misconfigured(f"{door} is older than PostgreSQL 10")
        yield Session(door, connection)
    finally:
        await connection.close()


@contextmanager
def _in_words(door: ConnectionParams) -> Iterator[None]:
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise ServiceError(f"{door} does not allow this to {door.who}: {_said(door, error)}") from None
    except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled):
        raise ServiceError(f"{door} is still busy with something that stands in the way of this") from None
    except psycopg.OperationalError as error:
        raise ServiceError(f"{door} broke the connection: {_said(door, error)}") from None
    except psycopg.Error as error:
        raise ServiceError(f"{door}: {_said(door, error)}") from None


def _why_shut(door: ConnectionParams, error: psycopg.Error) -> str:
    words = str(error)
    if isinstance(error, psycopg.errors.ConnectionTimeout) or "timeout expired" in words:
        return f"{door} did not answer within {_CONNECT_S} s"
    if "Connection refused" in words or "No such file or directory" in words:
        return f"{door} refused the connection"
    if "server closed the connection" in words:
        return f"{door} broke the connection"
    return f"{door} does not let {door.who} in: {_said(door, error)}"


def _said(door: ConnectionParams, error: psycopg.Error) -> str:
    """The first line of what the server or its library said: names, no statement, and never a password."""
    words = error.diag.message_primary or str(error).strip().partition("\n")[0] or type(error).__name__
    words = redacted(words, (door.password or "",))
    return words.rpartition("FATAL:  ")[2][:_LONGEST_WORDS]
