"""Redis: a prefix of its own for each service, and for each grant a user who may use the keys that begin with it.

Servers before 6 have no users: there each service has its own numbered database, and every app the server's password.
Such a server stores only which number belongs to which service.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from reconciler.linux.error_words import in_words
from reconciler.planning.fingerprint import Json
from reconciler.services import server_tools
from reconciler.services.connection_limit import ConnectionLimit
from reconciler.services.provisioner import Client, Credentials, Grant, Misconfigured, ServiceError, ServiceSpec, called
from reconciler.services.server_connection import AuthenticationFailed, app_address, url_userinfo
from reconciler.services.types.redis import acl, keys
from reconciler.services.types.redis.numbers import forget_number, number_of
from reconciler.services.types.redis.session import (
    RedisParams,
    Session,
    admin_params,
    opened,
)

_ACTION_TIMEOUT_S = 50.0
_MAX_CONNECTIONS = 8
_MAX_NAME = 52


class Redis:
    """Provisions services on any number of servers."""

    def __init__(self) -> None:
        self._limit = ConnectionLimit(_MAX_CONNECTIONS)

    async def provision(self, service: ServiceSpec) -> None:
        async with self._admin_session(service) as session:
            if not await self._has_users(session):
                await number_of(session, service)
            elif await acl.accepts_everyone(session) and not admin_params(service).server.options.get("open"):
                raise Misconfigured(
                    f"{admin_params(service)} accepts connections without a password: set requirepass, or open: true"
                )

    async def bind(self, service: ServiceSpec, grant: Grant) -> Credentials:
        async with self._admin_session(service) as session:
            version = await acl.version_of(session)
            if version < acl.ACL_SINCE:
                return _credentials(service, None, await number_of(session, service))
            rights = acl.rights(_prefix(service), grant.password.reveal(), version)
            await session.do("ACL SETUSER", grant.user, *rights)
            await acl.save_users(session)
        return _credentials(service, grant, 0)

    async def verify(self, service: ServiceSpec, grant: Grant, credentials: Credentials) -> str | None:
        async with self._slot(service):
            try:
                async with self._opened(_app_params(service, credentials)) as session:
                    await session.do("GET", f"{credentials.get('prefix', '')}reconciler")
            except AuthenticationFailed as error:
                return f"user {grant.user} cannot access its keys: {error}"
        return None

    async def unbind(self, service: ServiceSpec, grant: Grant) -> None:
        """Delete the user, which closes its connections; a server without users has nothing to revoke."""
        async with self._admin_session(service) as session:
            if await self._has_users(session):
                await session.do("ACL DELUSER", grant.user)
                await acl.save_users(session)

    async def deprovision(self, service: ServiceSpec) -> None:
        async with self._admin_session(service) as session:
            if not await self._has_users(session):
                await forget_number(session, service, self._inside(service))
                return
            for user in await acl.users_of(session, _prefix(service)):
                await session.do("ACL DELUSER", user)
            await acl.save_users(session)
            await self._empty(service, session)

    async def size_bytes(self, service: ServiceSpec) -> int | None:  # noqa: ARG002 -- the server would have to read every key
        return None

    async def back_up(self, service: ServiceSpec, file: Path) -> None:
        draft = file.with_name(f".{file.name}.{os.getpid()}.draft")
        try:
            async with self._admin_session(service, server_tools.TIMEOUT_S) as session:
                with server_tools.new(draft) as writing:
                    keys.begin(writing)
                    prefix, numbers, count = _prefix(service), await keys.databases(session), 0
                    if not await self._has_users(session):
                        prefix, numbers = "", (await number_of(session, service),)
                    for number in numbers:
                        async with self._inside(service)(number) as within:
                            count += await keys.write(within, number, prefix, writing)
                    keys.end(writing, count)
            await asyncio.to_thread(server_tools.publish, draft, file)
        except OSError as error:
            raise ServiceError(f"cannot write {file}: {in_words(error)}") from None
        finally:
            draft.unlink(missing_ok=True)

    async def restore(self, service: ServiceSpec, file: Path) -> None:
        """Replace the keys by those of a dump; if that is interrupted, it has to be repeated."""
        await asyncio.to_thread(keys.check, file)
        async with self._admin_session(service, server_tools.TIMEOUT_S) as session:
            if await self._has_users(session):
                await self._empty(service, session)
                await keys.read(self._inside(service), _prefix(service), file, None)
                return
            number = await number_of(session, service)
            async with self._inside(service)(number) as within:
                await within.do("FLUSHDB")
            await keys.read(self._inside(service), "", file, number)

    async def verify_backup(self, service: ServiceSpec, file: Path, scratch: Path) -> Mapping[str, int]:  # noqa: ARG002
        """Have the server restore each key under a name apart from the service's, one at a time, and remove it.

        The server checks each value as in a restore, and no second copy of the data has to fit into its memory. A key
        that a kill leaves there expires within a minute.
        """
        await asyncio.to_thread(keys.check, file)
        async with self._admin_session(service, server_tools.TIMEOUT_S) as session:
            number = 0 if await self._has_users(session) else await number_of(session, service)
            async with self._inside(service)(number) as within:
                return {"keys": await keys.try_each(within, f"reconciler-verify:{service.id}", file)}

    async def remove_scratch(self, service: ServiceSpec) -> None:
        """Do nothing: what was left has expired."""

    def client(self, service: ServiceSpec, credentials: Credentials) -> Client:
        params = _app_params(service, credentials)
        where = ("-s", params.host) if params.socket else ("-h", params.host, "-p", str(params.port))
        encrypted = ("--tls", "--cacert", params.ca) if params.ca else ()
        user = ("--user", params.user) if params.user else ()
        return Client(
            argv=("redis-cli", *where, *encrypted, *user, "-n", str(params.database)),
            environment={"REDISCLI_AUTH": params.password} if params.password else {},
        )

    async def _empty(self, service: ServiceSpec, session: Session) -> None:
        for number in await keys.databases(session):
            async with self._inside(service)(number) as within:
                await keys.remove(within, _prefix(service))

    async def _has_users(self, session: Session) -> bool:
        return await acl.version_of(session) >= acl.ACL_SINCE

    def _opened(self, params: RedisParams) -> AbstractAsyncContextManager[Session]:
        return opened(params)

    def _inside(self, service: ServiceSpec) -> keys.Inside:
        return lambda number: self._opened(admin_params(service, number))

    def _slot(self, service: ServiceSpec, within_s: float = _ACTION_TIMEOUT_S) -> AbstractAsyncContextManager[None]:
        params = admin_params(service)
        return self._limit.slot(params.server.name, str(params), within_s)

    @asynccontextmanager
    async def _admin_session(self, service: ServiceSpec, within_s: float = _ACTION_TIMEOUT_S) -> AsyncIterator[Session]:
        async with self._slot(service, within_s), self._opened(admin_params(service)) as session:
            yield session


def _prefix(service: ServiceSpec) -> str:
    return f"{called(service, _MAX_NAME)}:"


def _credentials(service: ServiceSpec, grant: Grant | None, number: int) -> Credentials:
    """Return Cloud Foundry's v1 keys and `uri`; with a user also `prefix`, which every key and channel must have."""
    admin = admin_params(service)
    host, port = app_address(admin.server, 6379)
    password = grant.password.reveal() if grant else admin.password
    user = grant.user if grant else ""
    secret = "" if password is None else f"{url_userinfo(user, password)}@"
    if host.startswith("/"):
        uri = f"unix://{secret}{quote(host)}?db={number}"
    else:
        scheme = "rediss" if admin.ca else "redis"
        uri = f"{scheme}://{secret}{f'[{host}]' if ':' in host else host}:{port}/{number}"
    found: dict[str, Json] = {
        "name": called(service, _MAX_NAME),
        "hostname": host,
        "host": host,
        "port": port,
        "password": password,
        "db": number,
        "uri": uri,
    }
    if grant:
        found |= {"user": user, "username": user, "prefix": _prefix(service)}
    return found


def _app_params(service: ServiceSpec, credentials: Credentials) -> RedisParams:
    user, password = credentials.get("user"), credentials.get("password")
    return replace(
        admin_params(service, int(str(credentials["db"]))),
        host=str(credentials["host"]),
        port=int(str(credentials["port"])),
        user=None if user is None else str(user),
        password=None if password is None else str(password),
    )
