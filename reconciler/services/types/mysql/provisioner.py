"""MariaDB 10.4 and MySQL 5.7 and newer: a database for each service, a user with all rights in it for each grant.

A user that is taken back while views, triggers or routines run in its name is locked for ever instead of dropped, since
they would end with it; it goes when the service goes. Each step holds the service's lock on the server.
"""

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from reconciler.services import server_tools
from reconciler.services.connection_limit import ConnectionLimit
from reconciler.services.provisioner import Client, Credentials, Grant, ServiceError, ServiceSpec, called
from reconciler.services.types.mysql.session import (
    AuthenticationFailed,
    ConnectionParams,
    Session,
    account,
    admin_params,
    name_of,
    opened,
)
from reconciler.services.types.mysql.statements import drop_all, drop_user, make_database, open_to_user

_STEP_S = 50.0
_AT_ONCE = 8
_LOCK_S = 30
_LONGEST = 52  # of the 64 letters a name may have
_PACKAGE = "mariadb-client"
_DUMPERS = ("mariadb-dump", "mysqldump")
_CLIENTS = ("mariadb", "mysql")
_DEFINER = re.compile(rb"^((?:CREATE|/\*!\d+ (?:CREATE\*/ /\*!\d+ )?)\s*)DEFINER=`[^`]*`@`[^`]*`")


class Mysql:
    """One server or many; constructed once."""

    def __init__(self) -> None:
        self._turns = ConnectionLimit(_AT_ONCE)

    async def provision(self, service: ServiceSpec) -> None:
        async with self._step(service) as session:
            await make_database(session, _name(service))

    async def bind(self, service: ServiceSpec, grant: Grant) -> Credentials:
        async with self._step(service) as session:
            await make_database(session, _name(service))
            await open_to_user(session, _name(service), grant.user, grant.password.reveal())
        return _credentials(service, grant)

    async def verify(self, service: ServiceSpec, grant: Grant, credentials: Credentials) -> str | None:
        async with self._turn(service):
            try:
                async with self._opened(_app_params(service, credentials)) as session:
                    await session.ask("SELECT 1")
            except AuthenticationFailed as error:
                return f"user {grant.user} cannot get in: {error}"
        return None

    async def unbind(self, service: ServiceSpec, grant: Grant) -> None:
        async with self._step(service) as session:
            await drop_user(session, _name(service), grant.user)

    async def deprovision(self, service: ServiceSpec) -> None:
        """Users whom nobody has taken back stay, and lose their rights: an admin may have let in others."""
        async with self._step(service) as session:
            await session.ask(f"DROP DATABASE IF EXISTS {name_of(_draft(service))}")
            await drop_all(session, _name(service))
            await session.ask(f"DROP USER IF EXISTS {account(_restorer(service))}")

    async def size_bytes(self, service: ServiceSpec) -> int | None:
        async with self._turn(service), self._opened(admin_params(service)) as session:
            ((size,),) = await session.ask(
                "SELECT sum(data_length + index_length) FROM information_schema.tables WHERE table_schema = %s",
                _name(service),
            )
        return int(size or 0)

    async def back_up(self, service: ServiceSpec, file: Path) -> None:
        """By the server's own program, as SQL: one moment of all tables, with views, triggers, routines and events."""
        door = admin_params(service)
        draft = file.with_name(f".{file.name}.{os.getpid()}.draft")
        program = server_tools.found(_DUMPERS, _PACKAGE)
        argv = (
            *(program, *door.arguments, "--single-transaction", "--quick", "--routines", "--triggers", "--events"),
            *("--hex-blob", "--no-tablespaces", "--skip-dump-date", _name(service)),
        )
        try:
            await server_tools.run(
                server_tools.Tool(argv=argv, package=_PACKAGE, environment=door.environment, into=draft),
                hide=_secrets(door),
            )
            await asyncio.to_thread(server_tools.publish, draft, file)
        finally:
            draft.unlink(missing_ok=True)

    async def restore(self, service: ServiceSpec, file: Path) -> None:
        """First into a database beside the service's: what cannot be read whole changes nothing.

        Then everything is dropped and read again; should that be interrupted, what is there is half of it, and the
        restore is to be done once more. The dump is read by a user with rights in this database only.
        """
        name, password = _name(service), secrets.token_urlsafe(32)
        door = replace(admin_params(service), user=_restorer(service), password=password)
        nameless = file.with_name(f".{file.name}.{os.getpid()}.nameless")
        try:
            await asyncio.to_thread(_without_definers, file, nameless)
            async with self._step(service, server_tools.LONGEST_S + _STEP_S) as session:
                for database in (_draft(service), name):
                    await session.ask(f"DROP DATABASE IF EXISTS {name_of(database)}")
                    await make_database(session, database)
                    await open_to_user(session, database, door.user, password)
                    await self._read(replace(door, database=database), nameless)
                    if database != name:
                        await session.ask(f"DROP DATABASE {name_of(database)}")
                await drop_user(session, name, door.user)
        finally:
            nameless.unlink(missing_ok=True)

    async def _read(self, door: ConnectionParams, file: Path) -> None:
        program = server_tools.found(_CLIENTS, _PACKAGE)
        argv = (program, *door.arguments, "--batch", "--binary-mode", f"--database={door.database}")
        await server_tools.run(
            server_tools.Tool(argv=argv, package=_PACKAGE, environment=door.environment, out_of=file),
            hide=_secrets(door),
        )

    def client(self, service: ServiceSpec, credentials: Credentials) -> Client:
        door = _app_params(service, credentials)
        program = Path(server_tools.found(_CLIENTS, _PACKAGE)).name
        return Client(argv=(program, *door.arguments, f"--database={door.database}"), environment=door.environment)

    def _opened(self, door: ConnectionParams) -> AbstractAsyncContextManager[Session]:
        return opened(door)

    def _turn(self, service: ServiceSpec, within_s: float = _STEP_S) -> AbstractAsyncContextManager[None]:
        door = admin_params(service)
        return self._turns.slot(door.server.name, str(door), within_s)

    @asynccontextmanager
    async def _step(self, service: ServiceSpec, within_s: float = _STEP_S) -> AsyncIterator[Session]:
        """A session of the admin's that alone changes this service."""
        door = admin_params(service)
        async with self._turn(service, within_s), self._opened(door) as session:
            ((got,),) = await session.ask("SELECT GET_LOCK(%s, %s)", f"reconciler-{service.id}", _LOCK_S)
            if got != 1:
                raise ServiceError(f"{door} is still busy with an earlier step of service {service.name}")
            yield session


def _name(service: ServiceSpec) -> str:
    return called(service, _LONGEST)


def _draft(service: ServiceSpec) -> str:
    return f"{_name(service)}_restored"


def _restorer(service: ServiceSpec) -> str:
    """Who reads a dump; at most 32 letters."""
    return f"restore_{service.id}"


def _credentials(service: ServiceSpec, grant: Grant) -> Credentials:
    """v1's keys and `uri`; a socket is in the uri's query, where every reader of one finds it."""
    admin = admin_params(service)
    host = str(admin.server.options.get("app_host", admin.host))
    port = int(str(admin.server.options.get("app_port", admin.port)))
    name, password = _name(service), grant.password.reveal()
    socket = host.startswith("/")
    where = "localhost" if socket else f"{f'[{host}]' if ':' in host else host}:{port}"
    return {
        "name": name,
        "hostname": host,
        "host": host,
        "port": port,
        "user": grant.user,
        "username": grant.user,
        "password": password,
        "uri": f"mysql://{quote(grant.user, safe='')}:{quote(password, safe='')}@{where}/{name}"
        f"{f'?unix_socket={quote(host)}' if socket else ''}",
    }


def _app_params(service: ServiceSpec, credentials: Credentials) -> ConnectionParams:
    return replace(
        admin_params(service),
        host=str(credentials["host"]),
        port=int(str(credentials["port"])),
        database=str(credentials["name"]),
        user=str(credentials["user"]),
        password=str(credentials["password"]),
    )


def _secrets(door: ConnectionParams) -> tuple[str, ...]:
    return (door.password,) if door.password else ()


def _without_definers(file: Path, into: Path) -> None:
    """The same dump, naming nobody in whose name views and the like run: whoever reads it is that."""
    with server_tools.readable(file) as dump, server_tools.new(into) as copy:
        try:
            for line in dump:
                copy.write(_DEFINER.sub(rb"\1", line))
            copy.flush()
        except OSError as error:
            raise ServiceError(f"cannot write {into}: {error.strerror}") from error
