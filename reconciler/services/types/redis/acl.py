"""What a user of a Redis server may do: everything with its own keys and channels, and nothing that tells of others."""

import hashlib
from collections.abc import Iterable

from reconciler.services.provisioner import ServiceError
from reconciler.services.types.redis.session import Session

Version = tuple[int, ...]

ACL_SINCE: Version = (6,)
_CHANNELS_SINCE: Version = (6, 2)
_FUNCTIONS_SINCE: Version = (7,)
_SETINFO_SINCE: Version = (7, 2)


def rights(prefix: str, password: str, version: Version) -> tuple[str, ...]:
    """The words of ACL SETUSER. The server is told the password's hash only.

    Keys' names are told by SCAN, KEYS, RANDOMKEY and the tracking of CLIENT, channels' by PUBSUB: a name may be a
    session's key, and so as good as a password. What SCRIPT and FUNCTION empty or stop belongs to everybody.
    """
    words = [
        *("reset", "on", f"#{hashlib.sha256(password.encode()).hexdigest()}", f"~{prefix}*"),
        *("+@all", "-@admin", "-@dangerous", "+info", "-scan", "-randomkey", "-pubsub"),
        *("-script", "+script|load", "+script|exists", "-memory", "+memory|usage"),
        *("-client", "+client|setname", "+client|getname", "+client|id", "+client|reply", "+acl|whoami"),
    ]
    if version >= _CHANNELS_SINCE:
        words.append(f"&{prefix}*")
    if version >= _FUNCTIONS_SINCE:
        words += ["-function", "+sort", "+sort_ro"]  # since then SORT's BY and GET need a right to every key
    if version >= _SETINFO_SINCE:
        words += ["+client|setinfo", "+client|no-touch"]
    return tuple(words)


async def version_of(session: Session) -> Version:
    told = await session.do("INFO", "server")
    return tuple(int(part) for part in str(told["redis_version"]).split(".")[:2])


async def everybody_is_let_in(session: Session) -> bool:
    """Whether the server asks nobody for a password."""
    for line in await session.do("ACL LIST"):
        words = _text(line).split()
        if words[:2] == ["user", "default"]:
            return "on" in words and "nopass" in words
    return False


async def users_of(session: Session, prefix: str) -> tuple[str, ...]:
    """Whoever has the service's keys, and so was made for it."""
    lines: Iterable[list[str]] = (_text(line).split() for line in await session.do("ACL LIST"))
    return tuple(words[1] for words in lines if f"~{prefix}*" in words)


async def keep_users(session: Session) -> None:
    """Write them to the server's file of users, where it has one; without it they end with the server's process."""
    try:
        await session.do("ACL SAVE")
    except ServiceError as error:
        if "ACL file" not in str(error):
            raise


def _text(line: bytes | str) -> str:
    return line.decode() if isinstance(line, bytes) else line
