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

from reconciler.services.provisioner import Misconfigured, Server, ServiceError, ServiceSpec
from reconciler.vault.secret_patterns import redacted

Row: TypeAlias = tuple[Any, ...]
T = TypeVar("T")

_CONNECT_S = 5
_STATEMENT_S = 45
_LONGEST_WORDS = 300
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


class AuthenticationFailed(ServiceError):
    """The server is there, and does not accept these credentials."""


class SessionEnded(ServiceError):
    """The session that was to be ended has ended by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionParams:
    """Where and as whom to connect. A host that begins with `/` is a socket."""

    server: Server
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str | None = None

    def __str__(self) -> str:
        where = self.host if self.socket else f"{self.host}:{self.port}"
        return f"mysql server {self.server.name} ({where})"

    @property
    def socket(self) -> str | None:
        return self.host if self.host.startswith("/") else None

    @property
    def authority(self) -> str | None:
        """The file with the certificates that the server's must be signed by."""
        named = self.server.options.get("ssl_ca")
        return None if named is None else str(named)

    @property
    def arguments(self) -> tuple[str, ...]:
        """For the server's own programs, which look at no option file."""
        where = (
            (f"--socket={self.socket}",)
            if self.socket
            else ("--protocol=tcp", f"--host={self.host}", f"--port={self.port}")
        )
        encrypted = (f"--ssl-ca={self.authority}",) if self.authority else ()
        return ("--no-defaults", *where, *encrypted, f"--user={self.user}", "--default-character-set=utf8mb4")

    @property
    def environment(self) -> dict[str, str]:
        return {"MYSQL_PWD": self.password}


def admin_params(service: ServiceSpec) -> ConnectionParams:
    """The account that the host's settings name."""
    server = service.server
    if server is None:
        raise Misconfigured(f"service {service.name}: no mysql server is set for it")
    return ConnectionParams(
        server=server,
        host=server.host,
        port=server.port or 3306,
        user=server.user or "root",
        password=server.password.reveal() if server.password else "",
    )


class Session:
    """One connection, one statement at a time; what fails is a ServiceError in the server's own words."""

    def __init__(self, door: ConnectionParams) -> None:
        self._door = door
        self._thread = ThreadPoolExecutor(1, "mysql")
        self._line: socket.socket | None = None
        self._connection: pymysql.Connection[Any] = pymysql.Connection(
            host=door.host,
            port=door.port,
            user=door.user,
            password=door.password,
            database=door.database,
            charset="utf8mb4",
            autocommit=True,
            read_timeout=_STATEMENT_S,
            write_timeout=_STATEMENT_S,
            ssl={"ca": door.authority} if door.authority else None,
            defer_connect=True,
        )

    async def open(self) -> None:
        try:
            async with asyncio.timeout(_CONNECT_S):
                await self._in_thread(self._connect)
        except TimeoutError:
            raise ServiceError(f"{self._door} did not answer within {_CONNECT_S} s") from None

    def _connect(self) -> None:
        self._line = _dialled(self._door)
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
            raise _in_words(self._door, error) from None


@asynccontextmanager
async def opened(door: ConnectionParams) -> AsyncIterator[Session]:
    """A session in which each statement stands for itself; NotLetIn when the credentials do not open the server."""
    session = Session(door)
    waiting = True
    try:
        await session.open()
        yield session
        waiting = False
    finally:
        session.close(waiting=waiting)


def _dialled(door: ConnectionParams) -> socket.socket:
    """A connection that nothing was said on yet."""
    if door.socket is None:
        line = socket.create_connection((door.host, door.port), _CONNECT_S)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return line
    line = socket.socket(socket.AF_UNIX)
    try:
        line.settimeout(_CONNECT_S)
        line.connect(door.socket)
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


def _in_words(door: ConnectionParams, error: Exception) -> ServiceError:
    if isinstance(error, TimeoutError):
        return ServiceError(f"{door} did not answer within {_CONNECT_S} s")
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return ServiceError(f"{door} refused the connection")
    if isinstance(error, OSError):
        return ServiceError(f"{door} cannot be reached: {error.strerror}")
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    words = str(error.args[1]) if len(error.args) > 1 else type(error).__name__
    words = redacted(words, (door.password,))[:_LONGEST_WORDS]
    if code in _BROKEN or isinstance(error, pymysql.InterfaceError):
        return ServiceError(f"{door} broke the connection")
    if code in _FULL:
        return ServiceError(f"{door} has no free connection for user {door.user}")
    if code in _MAY_NOT:
        return AuthenticationFailed(f"{door} does not allow this to user {door.user}: {words}")
    if code in _SHUT_OUT:
        return AuthenticationFailed(f"{door} does not let user {door.user} in: {words}")
    return SessionEnded(words) if code == ER.NO_SUCH_THREAD else ServiceError(f"{door}: {words}")
