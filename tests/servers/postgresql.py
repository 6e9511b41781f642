"""A PostgreSQL server of our own, with a superuser who has a password, over TCP and over a socket."""

import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from reconciler.services.provisioner import Server
from reconciler.vault.secret import Secret
from tests.servers.private import Private, installed, private
from tests.support.ports import a_port

_PASSWORD = "the-admin's own % password"
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "max_wal_size": "64MB",
    "password_encryption": "scram-sha-256",
    "log_statement": "all",
    "log_min_messages": "notice",
    "autovacuum": "off",
}


@dataclass(kw_only=True)
class PostgresqlServer:
    place: Private
    programs: Path
    port: int
    settings: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def server(self) -> Server:
        """As the host's settings would name it."""
        return Server(
            name="main", type="postgresql", port=self.port, user="admin", password=Secret(_PASSWORD), options={}
        )

    @property
    def password(self) -> str:
        return _PASSWORD

    def start(self) -> None:
        settings = [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        argv: list[str | Path] = [self.programs / "postgres", "-D", self.place.directory / "data", "-p", str(self.port)]
        where = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.place.directory}"]
        self.process = self.place.start([*argv, *where, *settings], last=signal.SIGQUIT)
        self.place.until(self._answers, self.process)

    def stop(self) -> None:
        assert self.process is not None
        self.place.stop(self.process, signal.SIGINT)

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def connect(self, **other: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """As the admin, or as somebody else."""
        how = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": "admin",
            "password": _PASSWORD,
            "dbname": "postgres",
            "autocommit": True,
            "connect_timeout": 5,
        }
        return psycopg.connect(**{**how, **other})

    def ask(self, statement: Any, *values: object, **other: Any) -> list[tuple[Any, ...]]:
        """The rows of one statement, by default as the admin."""
        with self.connect(**other) as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def postgresql_server(**settings: str) -> Iterator[PostgresqlServer]:
    """With other settings than the hasty ones that tests want."""
    installed("postgresql")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "initdb")]
    with private("postgres") as place:
        server = PostgresqlServer(place=place, programs=found[-1].parent, port=a_port(), settings=_SETTINGS | settings)
        password = place.directory / "password"
        password.write_text(_PASSWORD)
        password.chmod(0o644)
        place.run(
            (
                *(server.programs / "initdb", "--no-sync", "--username=admin", "--auth-host=scram-sha-256"),
                *("--auth-local=scram-sha-256", "--encoding=UTF8", "--locale=C", f"--pwfile={password}"),
                *("--pgdata", place.directory / "data"),
            )
        )
        server.start()
        yield server
