"""The ACL of a service's users: full access to its own keys and channels, no command that reveals others."""

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
    """Return the arguments of ACL SETUSER, with the password's hash only.

    SCAN, KEYS, RANDOMKEY and CLIENT TRACKING reveal names of keys, PUBSUB names of channels: a name may be a session's
    key, which is as good as a password. SCRIPT and FUNCTION flush or stop what all users share.
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
        words += ["-function", "+sort", "+sort_ro"]  # since then SORT's BY and GET need access to every key
    if version >= _SETINFO_SINCE:
        words += ["+client|setinfo", "+client|no-touch"]
    return tuple(words)


async def version_of(session: Session) -> Version:
    info = await session.do("INFO", "server")
    return tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])


async def accepts_everyone(session: Session) -> bool:
    """Return whether the server accepts connections without a password."""
    for line in await session.do("ACL LIST"):
        words = _text(line).split()
        if words[:2] == ["user", "default"]:
            return "on" in words and "nopass" in words
    return False


async def users_of(session: Session, prefix: str) -> tuple[str, ...]:
    """Return the users that have access to the service's keys."""
    lines: Iterable[list[str]] = (_text(line).split() for line in await session.do("ACL LIST"))
    return tuple(words[1] for words in lines if f"~{prefix}*" in words)


async def save_users(session: Session) -> None:
    """Save the users to the server's ACL file; without one they last until the server restarts."""
    try:
        await session.do("ACL SAVE")
    except ServiceError as error:
        if "ACL file" not in str(error):
            raise


def _text(line: bytes | str) -> str:
    return line.decode() if isinstance(line, bytes) else line
