"""MariaDB 10.4 and MySQL 5.7 and newer: a database for each service, a user with all rights in it for each grant.

A revoked user that views, triggers or routines run as is locked instead of dropped, since they would break without it;
it is dropped with the service. Each action holds the service's lock on the server.
"""

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from reconciler.linux.error_words import in_words
from reconciler.services import server_tools
from reconciler.services.connection_limit import ConnectionLimit
from reconciler.services.provisioner import Client, Credentials, Grant, ServiceError, ServiceSpec, called
from reconciler.services.server_connection import AuthenticationFailed, app_address, url_authority
from reconciler.services.types.mysql.session import (
    MysqlParams,
    Session,
    account,
    admin_params,
    name_of,
    opened,
)
from reconciler.services.types.mysql.statements import count_rows, drop_all, drop_user, grant_access, make_database

_ACTION_TIMEOUT_S = 50.0
_MAX_CONNECTIONS = 8
_LOCK_S = 30
_MAX_NAME = 52  # of the 64 letters a name may have
_PACKAGE = "mariadb-client"
_DUMPERS = ("mariadb-dump", "mysqldump")
_CLIENTS = ("mariadb", "mysql")
_DEFINER = re.compile(rb"^((?:CREATE|/\*!\d+ (?:CREATE\*/ /\*!\d+ )?)\s*)DEFINER=`[^`]*`@`[^`]*`")


class Mysql:
    """Provisions services on any number of servers."""

    def __init__(self) -> None:
        self._limit = ConnectionLimit(_MAX_CONNECTIONS)

    async def provision(self, service: ServiceSpec) -> None:
        async with self._admin_session(service) as session:
            await make_database(session, _name(service))

    async def bind(self, service: ServiceSpec, grant: Grant) -> Credentials:
        async with self._admin_session(service) as session:
            await make_database(session, _name(service))
            await grant_access(session, _name(service), grant.user, grant.password.reveal())
        return _credentials(service, grant)

    async def verify(self, service: ServiceSpec, grant: Grant, credentials: Credentials) -> str | None:
        async with self._slot(service):
            try:
                async with self._opened(_app_params(service, credentials)) as session:
                    await session.ask("SELECT 1")
            except AuthenticationFailed as error:
                return f"user {grant.user} cannot log in: {error}"
        return None

    async def unbind(self, service: ServiceSpec, grant: Grant) -> None:
        async with self._admin_session(service) as session:
            await drop_user(session, _name(service), grant.user)

    async def deprovision(self, service: ServiceSpec) -> None:
        """Drop the database. Users that were not revoked stay without privileges: an admin may have added others."""
        async with self._admin_session(service) as session:
            for scratch in (_draft(service), _verified(service)):
                await session.ask(f"DROP DATABASE IF EXISTS {name_of(scratch)}")
            await drop_all(session, _name(service))
            for user in (_restorer(service), _verifier(service)):
                await session.ask(f"DROP USER IF EXISTS {account(user)}")

    async def size_bytes(self, service: ServiceSpec) -> int | None:
        async with self._slot(service), self._opened(admin_params(service)) as session:
            ((size,),) = await session.ask(
                "SELECT sum(data_length + index_length) FROM information_schema.tables WHERE table_schema = %s",
                _name(service),
            )
        return int(size or 0)

    async def back_up(self, service: ServiceSpec, file: Path) -> None:
        """Write a consistent SQL dump with views, triggers, routines and events."""
        params = admin_params(service)
        draft = file.with_name(f".{file.name}.{os.getpid()}.draft")
        program = server_tools.found(_DUMPERS, _PACKAGE)
        argv = (
            *(program, *params.arguments, "--single-transaction", "--quick", "--routines", "--triggers", "--events"),
            *("--hex-blob", "--no-tablespaces", "--skip-dump-date", _name(service)),
        )
        try:
            await server_tools.run(
                server_tools.Tool(argv=argv, package=_PACKAGE, environment=params.environment, into=draft),
                hide=params.secrets,
            )
            await asyncio.to_thread(server_tools.publish, draft, file)
        finally:
            draft.unlink(missing_ok=True)

    async def restore(self, service: ServiceSpec, file: Path) -> None:
        """Read a dump into a scratch database first, so that an incomplete dump changes nothing.

        Then drop the data and read the dump again; if that is interrupted, half of it is there, and the restore has to
        be repeated. The dump is read by a user with privileges in this database only.
        """
        name, password = _name(service), secrets.token_urlsafe(32)
        params = replace(admin_params(service), user=_restorer(service), password=password)
        stripped = file.with_name(f".{file.name}.{os.getpid()}.stripped")
        try:
            await asyncio.to_thread(_without_definers, file, stripped)
            async with self._admin_session(service, server_tools.TIMEOUT_S + _ACTION_TIMEOUT_S) as session:
                for database in (_draft(service), name):
                    await session.ask(f"DROP DATABASE IF EXISTS {name_of(database)}")
                    await make_database(session, database)
                    await grant_access(session, database, params.user, password)
                    await self._read(replace(params, database=database), stripped)
                    if database != name:
                        await session.ask(f"DROP DATABASE {name_of(database)}")
                await drop_user(session, name, params.user)
        finally:
            stripped.unlink(missing_ok=True)

    async def verify_backup(self, service: ServiceSpec, file: Path, scratch: Path) -> Mapping[str, int]:
        """Restore into a database of its own, without the service's lock: rotations and bindings do not wait for it."""
        name, password = _verified(service), secrets.token_urlsafe(32)
        params = replace(admin_params(service), user=_verifier(service), password=password, database=name)
        stripped = scratch / "dump.sql"
        await asyncio.to_thread(_without_definers, file, stripped)
        await asyncio.to_thread(_require_end, stripped)
        async with self._admin_session(service, server_tools.TIMEOUT_S, f"reconciler-verify-{service.id}") as session:
            try:
                await _drop_verified(session, service)
                await make_database(session, name)
                await grant_access(session, name, params.user, password)
                await self._read(params, stripped)
                async with opened(replace(admin_params(service), database=name), server_tools.TIMEOUT_S) as within:
                    return await count_rows(within, name)
            finally:
                await _drop_verified(session, service)

    async def remove_scratch(self, service: ServiceSpec) -> None:
        async with self._admin_session(service, lock=f"reconciler-verify-{service.id}") as session:
            await _drop_verified(session, service)

    async def _read(self, params: MysqlParams, file: Path) -> None:
        program = server_tools.found(_CLIENTS, _PACKAGE)
        argv = (program, *params.arguments, "--batch", "--binary-mode", f"--database={params.database}")
        await server_tools.run(
            server_tools.Tool(argv=argv, package=_PACKAGE, environment=params.environment, out_of=file),
            hide=params.secrets,
        )

    def client(self, service: ServiceSpec, credentials: Credentials) -> Client:
        params = _app_params(service, credentials)
        program = Path(server_tools.found(_CLIENTS, _PACKAGE)).name
        return Client(
            argv=(program, *params.arguments, f"--database={params.database}"), environment=params.environment
        )

    def _opened(self, params: MysqlParams) -> AbstractAsyncContextManager[Session]:
        return opened(params)

    def _slot(self, service: ServiceSpec, within_s: float = _ACTION_TIMEOUT_S) -> AbstractAsyncContextManager[None]:
        params = admin_params(service)
        return self._limit.slot(params.server.name, str(params), within_s)

    @asynccontextmanager
    async def _admin_session(
        self, service: ServiceSpec, within_s: float = _ACTION_TIMEOUT_S, lock: str | None = None
    ) -> AsyncIterator[Session]:
        """Open a session of the admin that holds the service's lock, or another one."""
        params = admin_params(service)
        async with self._slot(service, within_s), self._opened(params) as session:
            ((locked,),) = await session.ask("SELECT GET_LOCK(%s, %s)", lock or f"reconciler-{service.id}", _LOCK_S)
            if locked != 1:
                raise ServiceError(f"{params} is still busy with an earlier action on service {service.name}")
            yield session


def _name(service: ServiceSpec) -> str:
    return called(service, _MAX_NAME)


def _draft(service: ServiceSpec) -> str:
    return f"{_name(service)}_restored"


def _verified(service: ServiceSpec) -> str:
    return f"{_name(service)}_verified"


def _verifier(service: ServiceSpec) -> str:
    """Return the user that reads a dump into the database of a verification, at most 32 letters."""
    return f"verify_{service.id}"


async def _drop_verified(session: Session, service: ServiceSpec) -> None:
    await session.ask(f"DROP DATABASE IF EXISTS {name_of(_verified(service))}")
    await drop_user(session, _verified(service), _verifier(service))


def _restorer(service: ServiceSpec) -> str:
    """Return the user that reads a dump, at most 32 letters."""
    return f"restore_{service.id}"


def _credentials(service: ServiceSpec, grant: Grant) -> Credentials:
    """Return Cloud Foundry's v1 keys and `uri`, whose query names a socket."""
    host, port = app_address(admin_params(service).server, 3306)
    name, password = _name(service), grant.password.reveal()
    query = f"?unix_socket={quote(host)}" if host.startswith("/") else ""
    authority = url_authority(grant.user, password, *(("localhost", None) if query else (host, port)))
    return {
        "name": name,
        "hostname": host,
        "host": host,
        "port": port,
        "user": grant.user,
        "username": grant.user,
        "password": password,
        "uri": f"mysql://{authority}/{name}{query}",
    }


def _app_params(service: ServiceSpec, credentials: Credentials) -> MysqlParams:
    return replace(admin_params(service).for_app(credentials), database=str(credentials["name"]))


def _require_end(dump: Path) -> None:
    """Raise ServiceError for a dump that was cut off between two statements, which a restore would not notice."""
    with server_tools.readable(dump) as file:
        file.seek(max(0, dump.stat().st_size - 4096))
        if b"-- Dump completed" not in file.read():
            raise ServiceError("the dump is not complete: its end is missing")


def _without_definers(file: Path, into: Path) -> None:
    """Copy a dump without definers, so that views and the like run as the user that reads it."""
    with server_tools.readable(file) as dump, server_tools.new(into) as copy:
        try:
            for line in dump:
                copy.write(_DEFINER.sub(rb"\1", line))
            copy.flush()
        except OSError as error:
            raise ServiceError(f"cannot write {into}: {in_words(error)}") from error
