"""Open files that manifests name: none of a daemon's own, and by a user's link none that this user may not read.

What is judged is what was opened, link by link: a link that is turned meanwhile gains nothing.
"""

import errno
import os
import pwd
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

from reconciler.linux.regular_files import UnfitFile, opened_file, read_all

_OVERFLOW = 65534  # what a user has for a number in a namespace that has none for it
_MOST_LINKS = 40  # as the kernel follows
_STEP = os.O_NOFOLLOW | os.O_CLOEXEC
# What of a state directory is the daemon's own, but for its database. Not manifests, and what they name.
_OWN = frozenset(
    (
        "api.sock", "apps", "backups", "cache", "clusters", "control.sock", "down",
        "drained.json", "environments", "fork-server.json", "fork-servers", "git", "homes", "images", "keeper.sock",
        "key", "listeners", "lock", "login-links.json", "logs", "network-rules", "page-port", "page-token",
        "proxy", "services", "sessions.json", "sources", "tasks", "templates.log", "tmp", "users.json", "wakeups",
        "web.log",
    )
)  # fmt: skip
_DATABASE = "reconciler.db"  # and what lies beside it
_SOURCES = frozenset(("sources",))  # what is fetched from git, for the apps alone that name it


def read_named(path: str | Path, most: int, *, public: bool = False) -> bytes:
    """Return all bytes of a regular file that has at most `most` of them. Raises OSError; UnfitFile is one."""
    with opened_named(path, public=public) as file:
        return read_all(file, path, most)


def opened_named(path: str | Path, *, public: bool = False) -> BufferedReader:
    """Open a regular file for reading. Raises OSError; UnfitFile is one.

    A `public` one is shown to everyone: what a link leads to has to be readable by every user.
    """
    file = opened_file(path)
    try:
        place = _place(file.fileno())
        if place == os.path.abspath(path):  # noqa: PTH100  as it is: no link was on the way
            _refuse_private(place, path)
            return file
    except BaseException:
        file.close()
        raise
    file.close()
    found, links = _followed(path)
    try:
        _judge(found, links, path, public=public)
        return opened_file(f"/proc/self/fd/{found}")
    finally:
        os.close(found)


def withheld(path: str | Path, *, public: bool = False) -> str:
    """Return why `opened_named` opens no file at a path that others may open, "" if it does. Reads nothing of it."""
    try:
        found, links = _followed(path)
    except OSError:
        return ""
    try:
        _judge(found, links, path, public=public)
    except UnfitFile as refusal:
        return str(refusal.strerror)
    except OSError:
        return ""
    finally:
        os.close(found)
    return ""


def state_owner(directory: str) -> int | None:
    """Return the user of a daemon whose state directory this is, None if it is none."""
    with suppress(OSError):
        owner = os.lstat(f"{directory}/reconciler.db").st_uid
        os.lstat(f"{directory}/lock")
        return owner
    return None


def is_own(name: str) -> bool:
    """Return whether what has a name in a state directory is the daemon's own; "" and "." are the directory itself."""
    return name in _OWN or name in ("", ".") or name.startswith((_DATABASE, f".{_DATABASE}"))


def guests_of(tree: str, path: str) -> frozenset[int]:
    """Return the users but root and ours whose links lead from a path to a tree. Raises OSError.

    UnfitFile if the tree is a daemon's own, or if such a user may not read it.
    """
    _refuse_private(f"{tree}/.", path, but_for=_SOURCES)
    if tree == os.path.abspath(path):  # noqa: PTH100  as it is
        return frozenset()
    found, links = _followed(path)
    try:
        _judge(found, links, path, public=False, but_for=_SOURCES)
    finally:
        os.close(found)
    return frozenset(user for user in links if not _trusted(user))


def is_readable(facts: os.stat_result, users: frozenset[int]) -> bool:
    """Return whether each of these users can read a file in a directory that they can read."""
    return all(_is_given(user, facts, stat.S_IRUSR) for user in users)


def _place(opened: int) -> str:
    return os.readlink(f"/proc/self/fd/{opened}")  # noqa: PTH115  as it is


def _trusted(user: int) -> bool:
    """Whether links of a user lead anywhere: root's, ours, and those of whom this namespace knows no number.

    Beside a warden, that is root, too, and what this process may read is no secret of root's.
    """
    if user != _OVERFLOW or user == os.geteuid():
        return user in (0, os.geteuid())
    from reconciler.linux.kernel_counts import is_hosts  # few links belong to such a user

    return not is_hosts()


def _followed(path: str | Path) -> tuple[int, frozenset[int]]:
    """Return a descriptor of what a path leads to, to look at it, and the owners of the links on the way."""
    at = os.open("/", os.O_PATH | _STEP)
    try:
        left = os.path.join(os.getcwd(), path).split("/")[::-1]  # noqa: PTH118, PTH109  with each `..`, as the kernel has it
        owners: list[int] = []
        while left:
            name = left.pop()
            if name in ("", "."):
                continue
            found = os.open(name, os.O_PATH | _STEP, dir_fd=at)
            facts = os.fstat(found)
            if not stat.S_ISLNK(facts.st_mode):
                os.close(at)
                at = found
                continue
            try:
                target = os.readlink("", dir_fd=found)
            finally:
                os.close(found)
            owners.append(facts.st_uid)
            if len(owners) > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            left += target.split("/")[::-1]
            if target.startswith("/"):
                os.close(at)
                at = os.open("/", os.O_PATH | _STEP)
    except BaseException:
        os.close(at)
        raise
    return at, frozenset(owners)


def _judge(
    found: int, links: frozenset[int], path: str | Path, *, public: bool, but_for: frozenset[str] = frozenset()
) -> None:
    """Raise UnfitFile for what is not opened by way of links of these users."""
    place, facts = _place(found), os.fstat(found)
    _refuse_private(f"{place}/." if stat.S_ISDIR(facts.st_mode) else place, path, but_for)
    for user in links:
        if not _trusted(user) and not _may_read(user, place, facts):
            reason = f"it is reached by a link of user {_name(user)} to {place}, which that user may not read"
            raise UnfitFile(reason, path)
    if public and links and not facts.st_mode & stat.S_IROTH:
        raise UnfitFile(f"it is a link to {place}, which other users may not read", path)


def _refuse_private(place: str, path: str | Path, but_for: frozenset[str] = frozenset()) -> None:
    if place.startswith("/proc/"):  # the variables of another process, and what it has open
        raise UnfitFile("it shows what a process has", path)
    for directory in _above(place):
        # One that a user makes believe in a directory of all users refuses nothing.
        if (owner := state_owner(directory)) is not None and _trusted(owner):
            name = place[len(directory) :].strip("/").partition("/")[0]
            if is_own(name) and name not in but_for:
                raise UnfitFile("it is in the state directory of the daemon", path)


def _above(place: str) -> Iterator[str]:
    """Yield each directory that a place is in, up to the top, "/" or "//"."""
    while (directory := os.path.dirname(place)) != place:  # noqa: PTH120  many
        yield directory
        place = directory


def _may_read(user: int, place: str, facts: os.stat_result) -> bool:
    """Return whether a user can read what is at a place, all directories above included."""
    return _is_given(user, facts, stat.S_IRUSR) and all(
        _is_given(user, parent.stat(), stat.S_IXUSR) for parent in Path(place).parents
    )


def _is_given(user: int, facts: os.stat_result, right: int) -> bool:
    """Return whether a file gives a user a right, by that of its owner: to its owner, its group, or everyone."""
    if facts.st_uid == user:
        return True  # who can give it to themselves
    return bool(facts.st_mode & right >> 6) or bool(facts.st_mode & right >> 3 and facts.st_gid in _groups(user))


def _groups(user: int) -> Collection[int]:
    with suppress(KeyError):
        entry = pwd.getpwuid(user)
        return os.getgrouplist(entry.pw_name, entry.pw_gid)
    return ()


def _name(user: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(user).pw_name
    return str(user)
