"""PostgreSQL 10 and newer: a database and a role that owns it for each service, a role of its own for each grant.

A grant's role becomes the owner when it logs in, so that every grant can read and alter what another one created, and a
rotation loses nothing. Each action holds the service's advisory lock, so it waits for statements of a killed action.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

from reconciler.services import server_tools
from reconciler.services.connection_limit import ConnectionLimit
from reconciler.services.provisioner import Client, Credentials, Grant, ServiceError, ServiceSpec, called
from reconciler.services.server_connection import app_address, url_authority, url_userinfo
from reconciler.services.types.postgresql.session import CannotConnect, PostgresqlParams, Session, admin_params, opened
from reconciler.services.types.postgresql.statements import (
    Inside,
    Names,
    count_rows,
    drop_database,
    drop_user,
    grant_access,
    make_database,
    swap_databases,
    users_of,
)

_ACTION_TIMEOUT_S = 50.0
_MAX_CONNECTIONS = 8  # of a server's usual 100; an action may briefly need a second one
_LOCK, _VERIFICATION_LOCK = 0x5EC0 << 48, 0x5EC1 << 48  # above the service's 48 bits
_PACKAGE = "postgresql-client"
_RESERVED = ("pg_",)  # https://www.postgresql.org/docs/current/sql-createrole.html
_MAX_NAME = 52  # of the 63 bytes of a name; the rest is for the databases of a restore


class Postgresql:
    """Provisions services on any number of servers."""

    def __init__(self) -> None:
        self._limit = ConnectionLimit(_MAX_CONNECTIONS)

    async def provision(self, service: ServiceSpec) -> None:
        async with self._admin_session(service) as session:
            await make_database(session, _names(service), self._inside(service))

    async def bind(self, service: ServiceSpec, grant: Grant) -> Credentials:
        async with self._admin_session(service) as session:
            admin = await make_database(session, _names(service), self._inside(service))
            await grant_access(session, _names(service), admin, grant.user, grant.password.reveal())
        return _credentials(service, grant)

    async def verify(self, service: ServiceSpec, grant: Grant, credentials: Credentials) -> str | None:
        names = _names(service)
        async with self._slot(service):
            try:
                async with self._opened(_app_params(service, credentials)) as session:
                    ((acts_as,),) = await session.ask("SELECT current_user::text")
            except CannotConnect:
                async with self._opened(admin_params(service)) as session:
                    return await _why_rejected(session, names, grant.user)
        return None if acts_as == names.owner else f"user {grant.user} does not act as {names.owner}, who owns the data"

    async def unbind(self, service: ServiceSpec, grant: Grant) -> None:
        async with self._admin_session(service) as session:
            await drop_user(session, _names(service), grant.user, self._inside(service))

    async def deprovision(self, service: ServiceSpec) -> None:
        names = _names(service)
        async with self._admin_session(service) as session:
            for user in await users_of(session, names):
                await drop_user(session, names, user, self._inside(service))
            for database in (names.verified, names.draft, names.replaced, names.database):
                await drop_database(session, database)
            await session.do("DROP ROLE IF EXISTS {}", names.owner)

    async def size_bytes(self, service: ServiceSpec) -> int | None:
        async with self._slot(service), self._opened(admin_params(service)) as session:
            found = await session.ask(
                "SELECT pg_database_size(oid) FROM pg_database WHERE datname = %(name)s",
                {"name": _names(service).database},
            )
        return int(found[0][0]) if found else None

    async def back_up(self, service: ServiceSpec, file: Path) -> None:
        """Run pg_dump in its custom format, without owners and privileges, which a restore creates."""
        params = admin_params(service, _names(service).database)
        draft = file.with_name(f".{file.name}.{os.getpid()}.draft")
        argv = ("pg_dump", "--format=custom", "--no-owner", "--no-privileges", "--no-password")
        try:
            await server_tools.run(
                server_tools.Tool(argv=argv, package=_PACKAGE, environment=params.environment, into=draft),
                hide=params.secrets,
            )
            await asyncio.to_thread(server_tools.publish, draft, file)
        finally:
            draft.unlink(missing_ok=True)

    async def restore(self, service: ServiceSpec, file: Path) -> None:
        """Restore into a second database, which replaces the service's when it is complete."""
        names = _names(service)
        server_tools.readable(file).close()
        async with self._admin_session(service, server_tools.TIMEOUT_S + _ACTION_TIMEOUT_S) as session:
            await make_database(session, names, self._inside(service))
            await drop_database(session, names.draft)
            await make_database(session, replace(names, database=names.draft), self._inside(service))
            await _read(service, names.draft, file)
            await swap_databases(session, names)
            await drop_database(session, names.replaced)

    async def verify_backup(self, service: ServiceSpec, file: Path, scratch: Path) -> Mapping[str, int]:  # noqa: ARG002
        """Restore into a database of its own, without the service's lock: rotations and bindings do not wait for it."""
        names = replace(_names(service), database=_names(service).verified)
        server_tools.readable(file).close()
        async with self._admin_session(service, server_tools.TIMEOUT_S, _VERIFICATION_LOCK) as session:
            try:
                await drop_database(session, names.database)
                await make_database(session, names, self._inside(service))
                await _read(service, names.database, file)
                async with self._opened(admin_params(service, names.database)) as within:
                    return await count_rows(within)
            finally:
                await drop_database(session, names.database)

    async def remove_scratch(self, service: ServiceSpec) -> None:
        async with self._admin_session(service, lock=_VERIFICATION_LOCK) as session:
            await drop_database(session, _names(service).verified)

    def client(self, service: ServiceSpec, credentials: Credentials) -> Client:
        return Client(argv=("psql",), environment=_app_params(service, credentials).environment)

    def _opened(self, params: PostgresqlParams) -> AbstractAsyncContextManager[Session]:
        return opened(params)

    def _inside(self, service: ServiceSpec) -> Inside:
        return lambda database: self._opened(admin_params(service, database))

    def _slot(self, service: ServiceSpec, within_s: float = _ACTION_TIMEOUT_S) -> AbstractAsyncContextManager[None]:
        params = admin_params(service)
        return self._limit.slot(params.server.name, str(params), within_s)

    @asynccontextmanager
    async def _admin_session(
        self, service: ServiceSpec, within_s: float = _ACTION_TIMEOUT_S, lock: int = _LOCK
    ) -> AsyncIterator[Session]:
        """Open a session of the admin that holds the service's lock, or the one of its verifications."""
        async with self._slot(service, within_s), self._opened(admin_params(service)) as session:
            await session.ask("SELECT pg_advisory_lock(%(key)s)", {"key": lock | int(service.id, 16)})
            yield session


async def _read(service: ServiceSpec, database: str, file: Path) -> None:
    """Restore a dump into an empty database, as its owner."""
    params = admin_params(service, database)
    argv = (
        *("pg_restore", "--no-owner", "--no-privileges", f"--role={_names(service).owner}"),
        *("--exit-on-error", "--single-transaction", "--no-password", f"--dbname={database}"),
    )
    await server_tools.run(
        server_tools.Tool(argv=argv, package=_PACKAGE, environment=params.environment, out_of=file),
        hide=params.secrets,
    )


def _names(service: ServiceSpec) -> Names:
    name = called(service, _MAX_NAME, _RESERVED)
    return Names(
        owner=name, database=name, draft=f"{name}_restored", replaced=f"{name}_replaced", verified=f"{name}_verified"
    )


def _credentials(service: ServiceSpec, grant: Grant) -> Credentials:
    """Return Cloud Foundry's v1 keys and `uri`, whose query names the directory of a socket."""
    admin = admin_params(service)
    host, port = app_address(admin.server, 5432)
    name, password = called(service, _MAX_NAME, _RESERVED), grant.password.reveal()
    socket = host.startswith("/")
    query = {**({"host": host, "port": str(port)} if socket else {}), **admin.ssl}
    authority = f"{url_userinfo(grant.user, password)}@" if socket else url_authority(grant.user, password, host, port)
    return {
        "name": name,
        "hostname": host,
        "host": host,
        "port": port,
        "user": grant.user,
        "username": grant.user,
        "password": password,
        "uri": f"postgresql://{authority}/{name}{f'?{urlencode(query)}' if query else ''}",
    }


def _app_params(service: ServiceSpec, credentials: Credentials) -> PostgresqlParams:
    return replace(admin_params(service).for_app(credentials), database=str(credentials["name"]))


async def _why_rejected(session: Session, names: Names, user: str) -> str:
    """Return why the server rejects credentials, as the admin sees it."""
    ((login, expired, member, database, accepts, full),) = await session.ask(
        "SELECT u.rolcanlogin, u.rolvaliduntil < now(), pg_has_role(u.oid, o.oid, 'USAGE'), d.oid, d.datallowconn,"
        " (SELECT count(*) >= current_setting('max_connections')::int"
        " - current_setting('superuser_reserved_connections')::int"
        " FROM pg_stat_activity WHERE backend_type = 'client backend')"
        " FROM (SELECT) AS here LEFT JOIN pg_roles u ON u.rolname = %(user)s"
        " LEFT JOIN pg_roles o ON o.rolname = %(owner)s LEFT JOIN pg_database d ON d.datname = %(database)s",
        {"user": user, "owner": names.owner, "database": names.database},
    )
    if full:
        raise ServiceError(f"the postgresql server has no free connection for user {user}")
    if database is None:
        return f"database {names.database} does not exist"
    if login is None:
        return f"user {user} does not exist"
    if not login or expired:
        return f"user {user} may not log in"
    if not member:
        return f"user {user} has no access to database {names.database}"
    if not accepts:
        return f"database {names.database} accepts no connections"
    return f"the server rejects the password of user {user}"
