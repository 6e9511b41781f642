"""A PostgreSQL server of our own, with a superuser who has a password, over TCP and over a socket."""

import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from reconciler.services.provisioner import Credentials, Grant, Server, ServiceSpec
from reconciler.services.types.postgresql.provisioner import Postgresql
from reconciler.services.types.postgresql.session import PostgresqlParams, Row, Session, Statement, opened
from reconciler.vault.secret import Secret
from tests.servers.adapter import Countdown
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
    type: str = "postgresql"
    rejected: str = "rejects user admin"
    requests: int = 10
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
    def admins(self) -> Mapping[str, Server]:
        return {"superuser": self.server, "least": replace(self.server, user="least", password=Secret("least"))}

    @property
    def at_socket(self) -> Server:
        return replace(self.server, host=str(self.place.directory))

    def at_port(self, port: int) -> Server:
        return replace(self.server, port=port)

    def provisioner(self) -> Postgresql:
        return Postgresql()

    def mortal(self, countdown: Countdown) -> Postgresql:
        return _Mortal(countdown)

    def databases(self, service: ServiceSpec) -> list[str]:
        found = self.ask("SELECT datname FROM pg_database WHERE datname LIKE %s ORDER BY 1", f"%{service.id}%")
        return [name for (name,) in found]

    def roles(self, service: ServiceSpec) -> list[str]:
        found = self.ask("SELECT rolname FROM pg_roles WHERE rolname LIKE %s ORDER BY 1", f"%{service.id}%")
        return [name for (name,) in found]

    def made(self, service: ServiceSpec) -> list[str]:
        return sorted({*self.databases(service), *self.roles(service)})

    def has_user(self, user: str) -> bool:
        return bool(self.ask("SELECT 1 FROM pg_roles WHERE rolname = %s", user))

    async def store(self, credentials: Credentials) -> None:
        ask(credentials, "CREATE TABLE IF NOT EXISTS posts (id int)")

    async def opens(self, credentials: Credentials) -> bool:
        return not is_refused(credentials)

    def changes(self, grant: Grant, credentials: Credentials) -> Iterator[Callable[[], object]]:
        name = credentials["name"]
        for change in (
            f"ALTER ROLE {grant.user} PASSWORD 'another'",
            f"ALTER ROLE {grant.user} NOLOGIN",
            f"DROP OWNED BY {grant.user}; DROP ROLE {grant.user}",
            f"DROP DATABASE {name}",
        ):
            yield partial(self.ask, change)

    def log(self) -> str:
        return self.place.log.read_text(errors="replace")

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


class _Mortal(Postgresql):
    """Counts its statements down."""

    def __init__(self, countdown: Countdown) -> None:
        super().__init__()
        self._countdown = countdown

    @asynccontextmanager
    async def _opened(self, params: PostgresqlParams) -> AsyncIterator[Session]:
        async with opened(params) as session:
            ask = session.ask

            async def counted(statement: Statement, values: Mapping[str, object] | None = None) -> Sequence[Row]:
                self._countdown.step()
                return await ask(statement, values)

            session.ask = counted  # type: ignore[method-assign]
            yield session


def connect(credentials: Credentials, **other: Any) -> psycopg.Connection[tuple[Any, ...]]:
    """As an app does, by its uri."""
    return psycopg.connect(str(credentials["uri"]), autocommit=True, **other)


def ask(credentials: Credentials, statement: Any) -> list[tuple[Any, ...]]:
    with connect(credentials) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def is_refused(credentials: Credentials) -> bool:
    try:
        connect(credentials).close()
    except psycopg.OperationalError:
        return True
    return False


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
        server.ask("CREATE ROLE least LOGIN CREATEROLE CREATEDB PASSWORD 'least'")
        server.ask("REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC")
        server.ask("GRANT CONNECT ON DATABASE postgres TO least")
        yield server
