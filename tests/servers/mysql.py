"""A MariaDB server of our own, with an admin who has a password, over TCP and over a socket."""

import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql

from reconciler.services.provisioner import Credentials, Grant, Server, ServiceSpec
from reconciler.services.types.mysql.provisioner import Mysql
from reconciler.services.types.mysql.session import MysqlParams, Row, Session, opened
from reconciler.vault.secret import Secret
from tests.servers.adapter import Countdown
from tests.servers.private import Private, installed, listens, private
from tests.support.ports import a_port

_PASSWORD = "the-admin's own % password"
_LEAST = (
    "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, REFERENCES, INDEX, ALTER, CREATE TEMPORARY TABLES, LOCK TABLES,"
    " EXECUTE, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, EVENT, TRIGGER, DELETE HISTORY,"
    " CREATE USER, PROCESS, CONNECTION ADMIN"
)


@dataclass(kw_only=True)
class MysqlServer:
    type: str = "mysql"
    rejected: str = "denies user admin access"
    requests: int = 4
    place: Private
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.place.directory / "socket"

    @property
    def server(self) -> Server:
        """As the host's settings would name it."""
        return Server(name="main", type="mysql", port=self.port, user="admin", password=Secret(_PASSWORD))

    @property
    def admins(self) -> Mapping[str, Server]:
        return {"all": self.server, "least": replace(self.server, user="least", password=Secret("least"))}

    @property
    def at_socket(self) -> Server:
        return replace(self.server, host=str(self.socket))

    def at_port(self, port: int) -> Server:
        return replace(self.server, port=port)

    def provisioner(self) -> Mysql:
        return Mysql()

    def mortal(self, countdown: Countdown) -> Mysql:
        return _Mortal(countdown)

    def made(self, service: ServiceSpec) -> list[str]:
        users = f"SELECT user FROM mysql.user WHERE user LIKE '%{service.id}%'"
        return [name for (name,) in (*self.ask(f"SHOW DATABASES LIKE '%{service.id}%'"), *self.ask(users))]

    def users(self, *names: str) -> list[tuple[str, str]]:
        listed = ", ".join(f"'{name}'" for name in names)
        return self.ask(f"SELECT user, host FROM mysql.user WHERE user IN ({listed})")

    def has_user(self, user: str) -> bool:
        return self.users(user) == [(user, "%")]

    async def store(self, credentials: Credentials) -> None:
        ask(credentials, "CREATE TABLE IF NOT EXISTS posts (id int)", "CREATE OR REPLACE VIEW seen AS SELECT 1")

    async def opens(self, credentials: Credentials) -> bool:
        return not is_refused(credentials)

    def changes(self, grant: Grant, credentials: Credentials) -> Iterator[Callable[[], object]]:
        name, user = str(credentials["name"]), f"`{grant.user}`@`%`"
        granted = name.replace("_", "\\_")
        for change in (
            f"ALTER USER {user} IDENTIFIED BY 'another'",
            f"ALTER USER {user} ACCOUNT LOCK",
            f"REVOKE ALL PRIVILEGES ON `{granted}`.* FROM {user}",
            f"DROP USER {user}",
            f"DROP DATABASE {name}",
        ):
            yield partial(self.ask, change)

    def log(self) -> str:
        return self.general_log.read_text(errors="replace")

    @property
    def general_log(self) -> Path:
        return self.place.directory / "general.log"

    def start(self) -> None:
        self.process = self.place.start(
            [
                *("mariadbd", "--no-defaults", f"--datadir={self.place.directory / 'data'}", f"--socket={self.socket}"),
                *(f"--port={self.port}", "--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=0"),
                *(
                    "--innodb-buffer-pool-size=32M",
                    "--performance-schema=OFF",
                    "--max-connections=60",
                    "--skip-log-bin",
                ),
                *("--general-log=1", f"--general-log-file={self.general_log}", "--innodb-log-file-size=8M"),
            ]
        )
        self.place.until(self._answers, self.process)

    def stop(self) -> None:
        assert self.process is not None
        self.place.stop(self.process, signal.SIGTERM)

    def _answers(self) -> bool:
        return listens(self.port)

    def connect(self, **other: Any) -> "pymysql.Connection[Any]":
        """As the admin, or as somebody else."""
        how = {"host": "127.0.0.1", "port": self.port, "user": "admin", "password": _PASSWORD, "connect_timeout": 5}
        return pymysql.connect(**{**how, "autocommit": True, "charset": "utf8mb4", **other})

    def ask(self, statement: str, **other: Any) -> list[tuple[Any, ...]]:
        """The rows of one statement, by default as the admin."""
        with self.connect(**other) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())


class _Mortal(Mysql):
    """Counts its statements down."""

    def __init__(self, countdown: Countdown) -> None:
        super().__init__()
        self._countdown = countdown

    @asynccontextmanager
    async def _opened(self, params: MysqlParams) -> AsyncIterator[Session]:
        async with opened(params) as session:
            ask = session.ask

            async def counted(statement: str, *values: object) -> Sequence[Row]:
                self._countdown.step()
                return await ask(statement, *values)

            session.ask = counted  # type: ignore[method-assign]
            yield session


def connect(credentials: Credentials, **other: Any) -> "pymysql.Connection[Any]":
    """As an app does, by its uri."""
    uri = urlsplit(str(credentials["uri"]))
    how: dict[str, Any] = {
        "host": uri.hostname,
        "port": uri.port or 3306,
        "user": unquote(uri.username or ""),
        "password": unquote(uri.password or ""),
        "database": uri.path[1:],
        "autocommit": True,
    }
    if uri.query:
        how["unix_socket"] = unquote(uri.query.removeprefix("unix_socket="))
    return pymysql.connect(**{**how, **other})


def ask(credentials: Credentials, *statements: str, **other: Any) -> list[tuple[Any, ...]]:
    with connect(credentials, **other) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall())


def is_refused(credentials: Credentials) -> bool:
    try:
        connect(credentials).close()
    except pymysql.OperationalError:
        return True
    return False


@contextmanager
def mysql_server() -> Iterator[MysqlServer]:
    installed("mysql")
    with private("mysql") as place:
        place.run(
            [
                *("mariadb-install-db", "--no-defaults", f"--datadir={place.directory / 'data'}", "--skip-test-db"),
                f"--tmpdir={place.directory}",
                *("--auth-root-authentication-method=normal", "--skip-name-resolve"),
            ]
        )
        server = MysqlServer(place=place, port=a_port())
        server.start()
        root = server.connect(user="root", password="", unix_socket=str(server.socket))
        with root, root.cursor() as cursor:
            cursor.execute("CREATE USER admin@'%%' IDENTIFIED BY %s", (_PASSWORD,))
            cursor.execute("GRANT ALL ON *.* TO admin@'%' WITH GRANT OPTION")
            cursor.execute("CREATE USER least@'%%' IDENTIFIED BY %s", ("least",))
            cursor.execute(f"GRANT {_LEAST} ON *.* TO least@'%' WITH GRANT OPTION")
            cursor.execute("SELECT concat('DROP USER ''', user, '''@''', host, '''') FROM mysql.user WHERE user = ''")
            for (drop,) in cursor.fetchall():
                cursor.execute(drop)
        yield server
