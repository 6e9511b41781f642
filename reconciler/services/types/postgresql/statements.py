"""The statements that create and remove a service on a PostgreSQL server; any of them may be the last.

The admin need not be a superuser: with CREATEROLE and CREATEDB it becomes a member of the roles it creates, which lets
it give a database to its owner and end the sessions of a user.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import TypeAlias

from psycopg import sql

from reconciler.linux.dataclass import dataclass
from reconciler.services.provisioner import ServiceError
from reconciler.services.types.postgresql.session import Session

Inside: TypeAlias = Callable[[str], AbstractAsyncContextManager[Session]]  # a session in the database of that name

_POLL_S = 0.05
_HALF_DROPPED = -2  # the connection limit of a database whose DROP was interrupted and has to be repeated
_MEMBERS_CHOOSE = 160_000
_SCHEMAS_OF_ALL = 150_000  # before 15, every user of a database could create tables in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The names of a service's owner role and database, the two databases of a restore, and that of a verification."""

    owner: str
    database: str
    draft: str
    replaced: str
    verified: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """The privileges of the admin account, and the server's version."""

    superuser: bool
    version: int


async def admin_of(session: Session) -> Admin:
    ((superuser, version),) = await session.ask(
        "SELECT rolsuper, current_setting('server_version_num')::int FROM pg_roles WHERE rolname = current_user"
    )
    return Admin(superuser=superuser, version=version)


async def make_database(session: Session, names: Names, inside: Inside) -> Admin:
    """Create the owner and its database, which accepts connections once the public privilege is revoked."""
    admin = await admin_of(session)
    if not await _role(session, names.owner):
        await session.do("CREATE ROLE {} NOLOGIN", names.owner)
    await _make_member(session, admin, names.owner)
    await _make_database(session, names)
    ((opens, owned, public),) = await session.ask(
        "SELECT datallowconn, pg_get_userbyid(datdba) = %(owner)s,"
        " has_database_privilege('public', oid, 'CONNECT, TEMPORARY') FROM pg_database WHERE datname = %(database)s",
        {"owner": names.owner, "database": names.database},
    )
    if not owned:
        await session.do("ALTER DATABASE {} OWNER TO {}", names.database, names.owner)
    if public:
        await session.do("REVOKE ALL ON DATABASE {} FROM PUBLIC", names.database)
    if not opens:
        await session.do("ALTER DATABASE {} ALLOW_CONNECTIONS true", names.database)
    if admin.version < _SCHEMAS_OF_ALL and admin.superuser:
        async with inside(names.database) as within:
            await within.do("REVOKE ALL ON SCHEMA public FROM PUBLIC")
            await within.do("GRANT ALL ON SCHEMA public TO {}", names.owner)
    return admin


async def _make_database(session: Session, names: Names) -> None:
    """Copy template0, which never has connections, so that any number can be copied at once; always in UTF-8."""
    ((utf8, limit),) = await session.ask(
        "SELECT pg_encoding_to_char(encoding) = 'UTF8',"
        " (SELECT datconnlimit FROM pg_database WHERE datname = %(name)s)"
        " FROM pg_database WHERE datname = 'template0'",
        {"name": names.database},
    )
    if limit == _HALF_DROPPED:
        await drop_database(session, names.database)
    elif limit is not None:
        return
    if utf8:
        await session.do(
            "CREATE DATABASE {} OWNER {} TEMPLATE template0 ALLOW_CONNECTIONS false", names.database, names.owner
        )
        return
    await session.do(
        "CREATE DATABASE {} OWNER {} TEMPLATE template0 ALLOW_CONNECTIONS false"
        " ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'",
        names.database,
        names.owner,
    )


async def grant_access(session: Session, names: Names, admin: Admin, user: str, password: str) -> None:
    """Let a role log in with this password; in this database it acts as the owner at once."""
    if not await _role(session, user):
        await session.do("CREATE ROLE {} LOGIN PASSWORD {}", user, session.verifier(user, password))
    else:
        await session.do(
            "ALTER ROLE {} LOGIN INHERIT NOCREATEDB NOCREATEROLE CONNECTION LIMIT -1"
            " VALID UNTIL 'infinity' PASSWORD {}",
            user,
            session.verifier(user, password),
        )
        if admin.superuser:
            await session.do("ALTER ROLE {} NOSUPERUSER NOREPLICATION NOBYPASSRLS", user)
    if not await _is_member(session, user, names.owner):
        await session.do("GRANT {} TO {}", names.owner, user)
    if user not in await users_of(session, names):
        await session.do("ALTER ROLE {} IN DATABASE {} SET role = {}", user, names.database, names.owner)


async def drop_user(session: Session, names: Names, user: str, inside: Inside) -> None:
    """Lock a user out, end its sessions, give what it owns to the owner, and drop it."""
    if not await _role(session, user):
        return
    await _make_member(session, await admin_of(session), user)
    await session.do("ALTER ROLE {} NOLOGIN", user)
    await _end_sessions(session, user=user)
    leaves = await session.ask(
        "SELECT d.datallowconn FROM pg_shdepend JOIN pg_database d ON d.oid = dbid WHERE d.datname = %(database)s"
        " AND refclassid = 'pg_authid'::regclass AND refobjid = (SELECT oid FROM pg_roles WHERE rolname = %(user)s)",
        {"database": names.database, "user": user},
    )
    if leaves:
        if not leaves[0][0]:  # a restore was interrupted
            await session.do("ALTER DATABASE {} ALLOW_CONNECTIONS true", names.database)
        async with inside(names.database) as within:
            await within.do("REASSIGN OWNED BY {} TO {}", user, names.owner)
            await within.do("DROP OWNED BY {}", user)
    await session.do("DROP ROLE {}", user)


async def drop_database(session: Session, database: str) -> None:
    """End the sessions in a database, and drop it."""
    found = await session.ask(
        "SELECT datconnlimit FROM pg_database WHERE datname = %(database)s", {"database": database}
    )
    if not found:
        return
    if found[0][0] != _HALF_DROPPED:
        await session.do("ALTER DATABASE {} ALLOW_CONNECTIONS false", database)
        await _end_sessions(session, database=database)
    await session.do("DROP DATABASE IF EXISTS {}", database)


async def swap_databases(session: Session, names: Names) -> None:
    """Give the draft the database's name and users; neither accepts connections meanwhile."""
    admin = await admin_of(session)
    for user in await users_of(session, names):
        await _make_member(session, admin, user)
        await session.do("ALTER ROLE {} IN DATABASE {} SET role = {}", user, names.draft, names.owner)
    await drop_database(session, names.replaced)
    await session.do("ALTER DATABASE {} ALLOW_CONNECTIONS false", names.database)
    try:
        await _end_sessions(session, database=names.database)
        await _end_sessions(session, database=names.draft)
        async with session.transaction():
            await session.do("ALTER DATABASE {} RENAME TO {}", names.database, names.replaced)
            await session.do("ALTER DATABASE {} RENAME TO {}", names.draft, names.database)
    except BaseException:
        with suppress(ServiceError):
            await session.do("ALTER DATABASE {} ALLOW_CONNECTIONS true", names.database)
        raise


async def count_rows(session: Session) -> dict[str, int]:
    """Count the tables of a database and their rows, partitions one by one."""
    await session.ask("SET statement_timeout = 0")
    found = await session.ask(
        "SELECT nspname::text, relname::text FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE relkind = 'r' AND nspname <> 'information_schema' AND nspname !~ '^pg_' ORDER BY 1, 2"
    )
    rows = 0
    for schema, table in found:
        ((count,),) = await session.ask(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table)))
        rows += int(count)
    return {"tables": len(found), "rows": rows}


async def users_of(session: Session, names: Names) -> list[str]:
    """Return the roles that act as the owner in the database: those of grants, not members that an admin added."""
    found = await session.ask(
        "SELECT pg_get_userbyid(setrole)::text FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase"
        " WHERE d.datname = %(database)s AND setrole <> 0 AND %(setting)s = ANY (setconfig)",
        {"database": names.database, "setting": f"role={names.owner}"},
    )
    return [user for (user,) in found]


async def _make_member(session: Session, admin: Admin, role: str) -> None:
    """Make the admin a member: since 16, creating a role does not give its privileges."""
    if admin.superuser or await _is_member(session, None, role):
        return
    if admin.version >= _MEMBERS_CHOOSE:
        await session.do("GRANT {} TO CURRENT_USER WITH INHERIT TRUE, SET TRUE", role)
    else:
        await session.do("GRANT {} TO CURRENT_USER", role)


async def _role(session: Session, name: str) -> bool:
    return bool(await session.ask("SELECT 1 FROM pg_roles WHERE rolname = %(name)s", {"name": name}))


async def _is_member(session: Session, user: str | None, role: str) -> bool:
    """Return whether the user, by default the admin, has the privileges of the role."""
    ((member,),) = await session.ask(
        "SELECT pg_has_role(coalesce(%(user)s, current_user), %(role)s, 'USAGE')", {"user": user, "role": role}
    )
    return bool(member)


async def _end_sessions(session: Session, *, user: str | None = None, database: str | None = None) -> None:
    """End every session of a user, or in a database, and wait until they are gone."""
    while await session.ask(  # noqa: ASYNC110 -- the server sends no notice when a session ends
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        " AND (usename = %(user)s OR datname = %(database)s)",
        {"user": user, "database": database},
    ):
        await asyncio.sleep(_POLL_S)
