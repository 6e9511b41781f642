"""How to get into a MariaDB or MySQL server, and what went wrong there in an operator's words, without a secret.

PyMySQL waits for the server, so each session has a thread of its own; one that is given up on is woken and ends.
"""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import pymysql
from pymysql.constants import CR, ER

from reconciler.services.provisioner import ServiceError, ServiceSpec
from reconciler.services.server_connection import AuthenticationFailed, ConnectionParams, answering, required_server

Row: TypeAlias = tuple[Any, ...]
T = TypeVar("T")

_CONNECT_S = 5
_STATEMENT_S = 45
_MAY_NOT = frozenset(
    {
        *(ER.ACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR, ER.TABLEACCESS_DENIED_ERROR),
        *(ER.SPECIFIC_ACCESS_DENIED_ERROR, ER.KILL_DENIED_ERROR, ER.CANNOT_USER),
    }
)
# 1927: MariaDB's for a connection that was killed.
_BROKEN = frozenset({CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST, CR.CR_CONN_HOST_ERROR, ER.SERVER_SHUTDOWN, 1927})
# The database is not there; locked, by MySQL and MariaDB; expired; no password will do.
_SHUT_OUT = frozenset({ER.BAD_DB_ERROR, 3118, 4151, 1862, 1820, 1698})
_FULL = frozenset({ER.CON_COUNT_ERROR, ER.TOO_MANY_USER_CONNECTIONS, ER.USER_LIMIT_REACHED})


class SessionEnded(ServiceError):
    """The session that was to be ended has ended by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MysqlParams(ConnectionParams):
    """The server, the user and the database to connect to."""

    user: str
    password: str = field(repr=False)
    database: str | None = None

    @property
    def arguments(self) -> tuple[str, ...]:
        """For the server's own programs, which look at no option file."""
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
    """The account that the host's settings name."""
    server = required_server(service)
    return MysqlParams(
        server=server,
        host=server.host,
        port=server.port or 3306,
        user=server.user or "root",
        password=server.password.reveal() if server.password else "",
    )


class Session:
    """One connection, one statement at a time; what fails is a ServiceError in the server's own words."""

    def __init__(self, params: MysqlParams) -> None:
        self._params = params
        self._thread = ThreadPoolExecutor(1, "mysql")
        self._line: socket.socket | None = None
        self._connection: pymysql.Connection[Any] = pymysql.Connection(
            host=params.host,
            port=params.port,
            user=params.user,
            password=params.password,
            database=params.database,
            charset="utf8mb4",
            autocommit=True,
            read_timeout=_STATEMENT_S,
            write_timeout=_STATEMENT_S,
            ssl={"ca": params.ca} if params.ca else None,
            defer_connect=True,
        )

    async def open(self) -> None:
        async with answering(self._params, _CONNECT_S):
            await self._in_thread(self._connect)

    def _connect(self) -> None:
        self._line = _dialled(self._params)
        self._connection.connect(self._line)

    async def ask(self, statement: str, *values: object) -> Sequence[Row]:
        """The rows it answers with; each `%s` stands for a value, `%%` for a percent sign where there are values."""

        def asked() -> Sequence[Row]:
            with self._connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return tuple(cursor.fetchall())

        return await self._in_thread(asked)

    @property
    def is_mariadb(self) -> bool:
        version = self._connection.get_server_info()  # type: ignore[no-untyped-call] # its stubs are half done
        return "mariadb" in str(version).lower()

    def identified(self, password: str) -> str:
        """The clause that sets a password: MariaDB, whose logs keep all they hear, is told its hash only."""
        if not self.is_mariadb:
            return f"IDENTIFIED BY {self.literal(password)}"
        twice = hashlib.sha1(hashlib.sha1(password.encode()).digest()).hexdigest()  # noqa: S324 -- MySQL's own way
        return f"IDENTIFIED VIA mysql_native_password USING '*{twice.upper()}'"

    def literal(self, text: str) -> str:
        return str(self._connection.escape(text))

    def close(self, *, waiting: bool) -> None:
        """With whoever still waits in the thread woken; then the thread ends."""
        if waiting and self._line is not None:
            with suppress(OSError):
                self._line.shutdown(socket.SHUT_RDWR)
        self._thread.submit(self._let_go)
        self._thread.shutdown(wait=False)

    def _let_go(self) -> None:
        with suppress(pymysql.Error):
            self._connection.close()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (pymysql.Error, OSError) as error:
            raise _service_error(self._params, error) from None


@asynccontextmanager
async def opened(params: MysqlParams) -> AsyncIterator[Session]:
    """A session in which each statement stands for itself; NotLetIn when the credentials do not open the server."""
    session = Session(params)
    waiting = True
    try:
        await session.open()
        yield session
        waiting = False
    finally:
        session.close(waiting=waiting)


def _dialled(params: MysqlParams) -> socket.socket:
    """A connection that nothing was said on yet."""
    if params.socket is None:
        line = socket.create_connection((params.host, params.port), _CONNECT_S)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return line
    line = socket.socket(socket.AF_UNIX)
    try:
        line.settimeout(_CONNECT_S)
        line.connect(params.socket)
    except BaseException:
        line.close()
        raise
    return line


def name_of(database: str) -> str:
    """Quoted. What is named here is made of letters, digits and `_` only."""
    return f"`{database}`"


def account(user: str) -> str:
    """From wherever it comes."""
    return f"`{user}`@`%`"


def _service_error(params: MysqlParams, error: Exception) -> ServiceError:
    if isinstance(error, TimeoutError):
        return ServiceError(f"{params} did not answer within {_CONNECT_S} s")
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return ServiceError(f"{params} refused the connection")
    if isinstance(error, OSError):
        return ServiceError(f"{params} cannot be reached: {error.strerror}")
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    words = params.quoted(error.args[1] if len(error.args) > 1 else type(error).__name__)
    if code in _BROKEN or isinstance(error, pymysql.InterfaceError):
        return ServiceError(f"{params} broke the connection")
    if code in _FULL:
        return ServiceError(f"{params} has no free connection for user {params.user}")
    if code in _MAY_NOT:
        return AuthenticationFailed(f"{params} does not allow this to user {params.user}: {words}")
    if code in _SHUT_OUT:
        return AuthenticationFailed(f"{params} rejects user {params.user}: {words}")
    return SessionEnded(words) if code == ER.NO_SUCH_THREAD else ServiceError(f"{params}: {words}")
