"""Sessions of a MariaDB or MySQL server, with errors in an operator's words.

PyMySQL blocks, so each session has its own thread; a cancelled session shuts its socket down, which ends the thread.
"""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import field
from typing import Any, TypeAlias, TypeVar

import pymysql
from pymysql.constants import CR, ER

from reconciler.linux.daemon_threads import DaemonThreads
from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import in_words
from reconciler.services.provisioner import ServiceError, ServiceSpec
from reconciler.services.server_connection import AuthenticationFailed, ConnectionParams, answering, required_server

Row: TypeAlias = tuple[Any, ...]
T = TypeVar("T")

_CONNECT_S = 5
_STATEMENT_S = 45
_DENIED = frozenset(
    {
        *(ER.ACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR, ER.TABLEACCESS_DENIED_ERROR),
        *(ER.SPECIFIC_ACCESS_DENIED_ERROR, ER.KILL_DENIED_ERROR, ER.CANNOT_USER),
    }
)
# 1927: MariaDB's code for a killed connection.
_BROKEN = frozenset({CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST, CR.CR_CONN_HOST_ERROR, ER.SERVER_SHUTDOWN, 1927})
# No such database; account locked, by MySQL and by MariaDB; password expired; no password accepted.
_REJECTED = frozenset({ER.BAD_DB_ERROR, 3118, 4151, 1862, 1820, 1698})
_FULL = frozenset({ER.CON_COUNT_ERROR, ER.TOO_MANY_USER_CONNECTIONS, ER.USER_LIMIT_REACHED})


class SessionEnded(ServiceError):
    """The session to end has already ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MysqlParams(ConnectionParams):
    """The server, the user and the database to connect to."""

    user: str
    password: str = field(repr=False)
    database: str | None = None

    @property
    def arguments(self) -> tuple[str, ...]:
        """Arguments of the server's own programs, which read no option file."""
        where = (
            (f"--socket={self.socket}",)
            if self.socket
            else ("--protocol=tcp", f"--host={self.host}", f"--port={self.port}")
        )
        encrypted = (f"--ssl-ca={self.ca}",) if self.ca else ()
        return ("--no-defaults", *where, *encrypted, f"--user={self.user}", "--default-character-set=utf8mb4")

    @property
    def environment(self) -> dict[str, str]:
        return {"MYSQL_PWD": self.password}


def admin_params(service: ServiceSpec) -> MysqlParams:
    """Return the parameters of the admin account in the host's settings."""
    server = required_server(service)
    return MysqlParams(
        server=server,
        host=server.host,
        port=server.port or 3306,
        user=server.user or "root",
        password=server.password.reveal() if server.password else "",
    )


class Session:
    """One connection, one statement at a time. A failure is a ServiceError with the server's message."""

    def __init__(self, params: MysqlParams, statement_s: float = _STATEMENT_S) -> None:
        self._params = params
        self._thread = DaemonThreads("mysql", 1, kept_s=1.0)
        self._socket: socket.socket | None = None
        self._connection: pymysql.Connection[Any] = pymysql.Connection(
            host=params.host,
            port=params.port,
            user=params.user,
            password=params.password,
            database=params.database,
            charset="utf8mb4",
            autocommit=True,
            read_timeout=statement_s,
            write_timeout=statement_s,
            ssl={"ca": params.ca} if params.ca else None,
            defer_connect=True,
        )

    async def open(self) -> None:
        async with answering(self._params, _CONNECT_S):
            await self._in_thread(self._connect)

    def _connect(self) -> None:
        self._socket = _connected_socket(self._params)
        self._connection.connect(self._socket)

    async def ask(self, statement: str, *values: object) -> Sequence[Row]:
        """Execute a statement and return its rows; `%s` stands for a value, and with values `%%` for a percent sign."""

        def execute() -> Sequence[Row]:
            with self._connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return tuple(cursor.fetchall())

        return await self._in_thread(execute)

    @property
    def is_mariadb(self) -> bool:
        version = self._connection.get_server_info()  # type: ignore[no-untyped-call] # its stubs are half done
        return "mariadb" in str(version).lower()

    def identified(self, password: str) -> str:
        """Return the clause that sets a password: for MariaDB, which logs statements in full, with its hash."""
        if not self.is_mariadb:
            return f"IDENTIFIED BY {self.literal(password)}"
        twice = hashlib.sha1(hashlib.sha1(password.encode()).digest()).hexdigest()  # noqa: S324 -- MySQL's own way
        return f"IDENTIFIED VIA mysql_native_password USING '*{twice.upper()}'"

    def literal(self, text: str) -> str:
        return str(self._connection.escape(text))

    def close(self, *, waiting: bool) -> None:
        """Close the connection in its thread, which ends then; `waiting` says that a statement may still run in it."""
        if waiting and self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.run(self._disconnect)

    def _disconnect(self) -> None:
        with suppress(pymysql.Error):
            self._connection.close()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.wrap_future(self._thread.run(work))
        except (pymysql.Error, OSError) as error:
            raise _service_error(self._params, error) from None


@asynccontextmanager
async def opened(params: MysqlParams, statement_s: float = _STATEMENT_S) -> AsyncIterator[Session]:
    """Open a session in which each statement commits and takes at most so many seconds.

    Raises AuthenticationFailed if the credentials are rejected.
    """
    session = Session(params, statement_s)
    waiting = True
    try:
        await session.open()
        yield session
        waiting = False
    finally:
        session.close(waiting=waiting)


def _connected_socket(params: MysqlParams) -> socket.socket:
    """Return a connected socket."""
    if params.socket is None:
        connection = socket.create_connection((params.host, params.port), _CONNECT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connection
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(_CONNECT_S)
        connection.connect(params.socket)
    except BaseException:
        connection.close()
        raise
    return connection


def name_of(database: str) -> str:
    """Return a quoted name, which consists of letters, digits and `_` only."""
    return f"`{database}`"


def account(user: str) -> str:
    """Return the account of a user who may connect from any host."""
    return f"`{user}`@`%`"


def _service_error(params: MysqlParams, error: Exception) -> ServiceError:
    if isinstance(error, TimeoutError):
        return ServiceError(f"{params} did not answer within {_CONNECT_S} s")
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return ServiceError(f"{params} refused the connection")
    if isinstance(error, OSError):
        return ServiceError(f"{params} cannot be reached: {in_words(error)}")
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    message = params.quoted(error.args[1] if len(error.args) > 1 else type(error).__name__)
    if code in _BROKEN or isinstance(error, pymysql.InterfaceError):
        return ServiceError(f"{params} broke the connection")
    if code in _FULL:
        return ServiceError(f"{params} has no free connection for user {params.user}")
    if code in _DENIED:
        return AuthenticationFailed(f"{params} denies user {params.user} access: {message}")
    if code in _REJECTED:
        return AuthenticationFailed(f"{params} rejects user {params.user}: {message}")
    return SessionEnded(message) if code == ER.NO_SUCH_THREAD else ServiceError(f"{params}: {message}")
