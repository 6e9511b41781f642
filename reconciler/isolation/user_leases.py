"""Keep the leases of users and groups in a file of the state directory; find them again if it is lost or damaged.

The owners of homes, and the groups of services, say again what was leased: a damaged file gives no number twice, and
stops nothing.
"""

import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from reconciler.isolation.user_claims import locked_alone
from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import replace_file
from reconciler.linux.regular_files import read_record
from reconciler.state.paths import StatePaths

# A lease of an app, of a service, of what builds an app, of what builds the apps without one of those, and of a number
# that a file has while no lease says whose it is.
APP, SERVICE, BUILDER, LOST = "app:", "service:", "builder-of:", "lost:"
COMMON_BUILDER = "builder:what builds apps"
_MOST_OF_A_FILE = 4 << 20
_MOST_LOOKED_AT = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The leases that a file holds; one that is not `whole` is damaged or lost, and `why` says how."""

    leases: Mapping[str, int]
    whole: bool = True
    why: str = ""


def leases(paths: StatePaths) -> Mapping[str, int]:
    """Return the leases, read again only when the file is another one. Blocks."""
    try:
        found = paths.users.lstat()
    except OSError:
        return _last_read(paths, 0, 0).leases if _lock_of(paths).exists() else {}
    return _last_read(paths, found.st_ino, found.st_mtime_ns).leases


@lru_cache(maxsize=2)
def _last_read(paths: StatePaths, inode: int, changed_ns: int) -> Stored:  # noqa: ARG001  they say which file it is
    return read_leases(paths)


def read_leases(paths: StatePaths) -> Stored:
    """Return the leases of the file, and what homes and services say besides if it is damaged or lost. Blocks."""
    written: dict[str, int] = {}
    try:
        stored = read_record(paths.users, _MOST_OF_A_FILE)
        written = {name: number for name, number in stored.items() if _is_lease(name, number)}
        damage = "" if len(written) == len(stored) else "it holds what is no lease"
        damage = damage or _foreign(paths)
    except FileNotFoundError:
        damage = "it is gone" if _lock_of(paths).exists() else ""
        if not damage:
            return Stored(leases={})
    except (OSError, ValueError, AttributeError) as error:
        damage = (error.strerror or "it cannot be read") if isinstance(error, OSError) else "it is no JSON object"
    if not damage:
        return Stored(leases=written)
    return Stored(leases={**written, **dict(_by_owners(paths))}, whole=False, why=damage)


def write_leases(paths: StatePaths, given: Mapping[str, int], *, instead: Stored) -> None:
    """Put these leases on the disk in place of others; a damaged file is kept beside it. Raises OSError."""
    if not instead.whole:
        with suppress(FileNotFoundError):
            paths.users.rename(paths.users.with_name(f"{_damaged(paths)}{datetime.now(UTC):%Y%m%dT%H%M%S}"))
    replace_file(paths.users, json.dumps(given))


def damaged_files(paths: StatePaths) -> list[Path]:
    """Return the damaged files that were kept."""
    return sorted(paths.state.glob(f"{_damaged(paths)}*"))


def _damaged(paths: StatePaths) -> str:
    return f"{paths.users.name}.damaged-"


def alone(paths: StatePaths) -> AbstractContextManager[None]:
    """Have no other process lease meanwhile. Raises OSError, after a while if another one does not end that."""
    return locked_alone(_lock_of(paths))


def leased_in(state: Path) -> Mapping[str, int] | None:
    """Return the leases of a state directory; None if they cannot be known. Blocks."""
    try:
        stored = read_leases(StatePaths(state=state))
    except OSError:
        return None
    return stored.leases if stored.whole else None


def _lock_of(paths: StatePaths) -> Path:
    return paths.users.with_name(f"{paths.users.name}.lock")


def _is_lease(name: str, number: object) -> bool:
    is_one = name == COMMON_BUILDER or name.startswith((APP, SERVICE, BUILDER, LOST))
    return is_one and type(number) is int and 0 < number < 2**32 - 1


def _foreign(paths: StatePaths) -> str:
    """Say why the file may be another user's work, "" if it is not."""
    found, state = paths.users.lstat(), paths.state.stat()
    if found.st_uid != state.st_uid or found.st_mode & 0o022:
        return "others may write it"
    return ""


def _by_owners(paths: StatePaths) -> Iterator[tuple[str, int]]:
    """Return what the owners of homes, and of what is in them, and the groups of services say."""
    us, left = paths.state.stat(), _MOST_LOOKED_AT
    for home in _entries(paths.home("any").parent):
        owner, below = home.stat(follow_symlinks=False).st_uid, _below((home.path,), (home.path,))
        while owner == us.st_uid and left > 0 and (found := next(below, None)):  # it was being given away
            owner, left = found.st_uid, left - 1
        if owner != us.st_uid and not is_known(owner):
            yield f"{APP}{home.name}", owner
    for name in _entries(paths.state / "services"):
        for service in _entries(Path(name.path)):
            group = service.stat(follow_symlinks=False).st_gid
            if group not in {us.st_gid, os.getegid()} and not is_known(group):
                yield f"{SERVICE}{name.name}.{service.name}", group


def whose(name: str) -> str:
    """Return in words who has a lease."""
    kind, _, rest = name.partition(":")
    return f"what builds {rest}" if f"{kind}:" == BUILDER else rest


def is_known(number: int) -> bool:
    """Whether a user or a group of this host has this number."""
    import grp  # only what is new is asked of
    import pwd

    for look in (pwd.getpwuid, grp.getgrgid):
        with suppress(KeyError):
            look(number)
            return True
    return False


def _entries(directory: Path) -> list["os.DirEntry[str]"]:
    """Return the directories in a directory."""
    with suppress(OSError), os.scandir(directory) as found:
        return [entry for entry in found if entry.is_dir(follow_symlinks=False)]
    return []


def has_files(user: int, tops: Sequence[str], ours: Sequence[str]) -> bool:
    """Whether a file below one of these directories is a user's; so it may be, if there are too many to look at.

    Outside of `ours` only those directories are entered in which others may make files.
    """
    left = _MOST_LOOKED_AT
    for found in _below(tops, ours):
        left -= 1
        if left < 0 or found.st_uid == user:
            return True
    return False


def found_owners(tops: Sequence[str], ours: Sequence[str]) -> frozenset[int]:
    """Return the owners and groups of all below these directories, as far as there are not too many."""
    found: set[int] = set()
    for count, facts in enumerate(_below(tops, ours)):
        if count > _MOST_LOOKED_AT:
            break
        found |= {facts.st_uid, facts.st_gid}
    return frozenset(found)


def _below(tops: Sequence[str], ours: Sequence[str]) -> Iterator[os.stat_result]:
    waiting = list(tops)
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                entries = list(found)
        except OSError:
            continue
        for entry in entries:
            try:
                facts = entry.stat(follow_symlinks=False)
            except OSError:  # it is gone
                continue
            yield facts
            if stat.S_ISDIR(facts.st_mode) and (facts.st_mode & 0o022 or f"{entry.path}/".startswith(tuple(ours))):
                waiting.append(entry.path)
