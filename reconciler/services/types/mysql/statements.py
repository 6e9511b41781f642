"""The statements that create and remove a service on a MariaDB or MySQL server; any of them may be the last."""

import asyncio
from contextlib import suppress

from reconciler.services.types.mysql.session import Session, SessionEnded, account, name_of

_POLL_S = 0.05


async def make_database(session: Session, database: str) -> None:
    """Create a database for Unicode text, in which only the server's admins have privileges."""
    await session.ask(f"CREATE DATABASE IF NOT EXISTS {name_of(database)} CHARACTER SET utf8mb4")


async def grant_access(session: Session, database: str, user: str, password: str) -> None:
    """Give a user this password and all privileges in the database, but not the right to grant them."""
    identified = session.identified(password)
    await session.ask(f"CREATE USER IF NOT EXISTS {account(user)} {identified}")
    await session.ask(f"ALTER USER {account(user)} {identified} ACCOUNT UNLOCK")
    granted = await _granted(session, database)
    await session.ask(f"GRANT ALL PRIVILEGES ON {name_of(granted)}.* TO {account(user)}")


async def drop_user(session: Session, database: str, user: str) -> None:
    """Lock a user out, end its sessions, and drop it unless a view, trigger, routine or event runs as it."""
    if not await session.ask("SELECT 1 FROM mysql.user WHERE user = %s AND host = '%%'", user):
        return
    await session.ask(f"ALTER USER {account(user)} ACCOUNT LOCK")
    await _end_sessions(session, user)
    if not await _is_definer(session, database, user):
        await session.ask(f"DROP USER IF EXISTS {account(user)}")


async def drop_all(session: Session, database: str) -> None:
    """Drop a database and its locked users; revoke the privileges that other users have in it."""
    await session.ask(f"DROP DATABASE IF EXISTS {name_of(database)}")
    granted = await _granted(session, database)
    for (user,) in await session.ask("SELECT DISTINCT user FROM mysql.db WHERE db = %s AND host = '%%'", granted):
        await _end_sessions(session, user)
        if await _is_locked(session, user):
            await session.ask(f"DROP USER IF EXISTS {account(user)}")
        else:
            await session.ask(f"REVOKE ALL PRIVILEGES ON {name_of(granted)}.* FROM {account(user)}")


async def count_rows(session: Session, database: str) -> dict[str, int]:
    """Count the tables of a database and their rows."""
    found = await session.ask(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = %s AND table_type = 'BASE TABLE'",
        database,
    )
    rows = 0
    for (table,) in found:
        quoted = str(table).replace("`", "``")
        ((count,),) = await session.ask(f"SELECT count(*) FROM {name_of(database)}.`{quoted}`")  # noqa: S608  no value can be bound there
        rows += int(count)
    return {"tables": len(found), "rows": rows}


async def _granted(session: Session, database: str) -> str:
    r"""Return the name of the database in a grant, where `_` matches any character unless it is escaped.

    With partial revokes, `_` and `\` match themselves.
    """
    found = await session.ask("SHOW VARIABLES LIKE 'partial_revokes'")
    if found and str(found[0][1]).upper() == "ON":
        return database
    return database.replace("_", r"\_")


async def _is_definer(session: Session, database: str, user: str) -> bool:
    definer = f"{user}@%"
    found = await session.ask(
        "SELECT 1 FROM information_schema.views WHERE table_schema = %s AND definer = %s"
        " UNION SELECT 1 FROM information_schema.triggers WHERE trigger_schema = %s AND definer = %s"
        " UNION SELECT 1 FROM information_schema.routines WHERE routine_schema = %s AND definer = %s"
        " UNION SELECT 1 FROM information_schema.events WHERE event_schema = %s AND definer = %s",
        *(database, definer) * 4,
    )
    return bool(found)


async def _is_locked(session: Session, user: str) -> bool:
    if session.is_mariadb:
        ask = "SELECT json_value(priv, '$.account_locked') FROM mysql.global_priv WHERE user = %s AND host = '%%'"
    else:
        ask = "SELECT account_locked FROM mysql.user WHERE user = %s AND host = '%%'"
    found = await session.ask(ask, user)
    return bool(found) and str(found[0][0]).lower() in {"1", "true", "y"}


async def _end_sessions(session: Session, user: str) -> None:
    """End every session of a user, and wait until they are gone."""
    while True:
        found = await session.ask("SELECT id FROM information_schema.processlist WHERE user = %s", user)
        if not found:
            return
        for (number,) in found:
            with suppress(SessionEnded):
                await session.ask(f"KILL CONNECTION {int(number)}")
        await asyncio.sleep(_POLL_S)
