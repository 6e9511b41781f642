"""A MariaDB server of our own, with an admin who has a password, over TCP and over a socket."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql

from reconciler.services.provisioner import Server
from reconciler.vault.secret import Secret
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


@contextmanager
def mysql_server() -> Iterator[MysqlServer]:
    installed("mysql")
    with private("mysql") as place:
        place.run(
            [
                *("mariadb-install-db", "--no-defaults", f"--datadir={place.directory / 'data'}", "--skip-test-db"),
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
