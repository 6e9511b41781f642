"""Lease every isolated app a user of its own, and every service in files a group: numbers of one range of this host.

A lease is on the disk before its number is used. It ends only once no file and no process of that number is left.
"""

import fcntl
import json
import os
import stat
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from reconciler.linux.files import replace_file
from reconciler.linux.proc_files import read_proc
from reconciler.linux.regular_files import read_record
from reconciler.state.paths import StatePaths

_APP, _SERVICE = "app:", "service:"
_MOST_OF_A_FILE = 4 << 20
_MOST_LOOKED_AT = 100_000
_SHARED = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  where any user leaves files
# What starting as another user takes, and finding such a process again (linux/capability.h).
_NEEDED = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "KILL": 5, "SETGID": 6, "SETUID": 7, "SYS_PTRACE": 19}


class NoUser(Exception):
    """An app cannot have a user of its own; the text says why."""


class AppUsers:
    """The users of the apps of one state directory, from a range; files of theirs may lie in `elsewhere`, too."""

    def __init__(self, paths: StatePaths, numbers: range, elsewhere: Sequence[str] = ()) -> None:
        self._paths = paths
        self._numbers = numbers
        self._elsewhere = tuple(elsewhere)

    def lacks(self) -> str:
        """Return why apps get no user of their own from this process, "" if they do."""
        return _lacks(self._numbers.start, self._numbers[-1])

    def of(self, app: str) -> int:
        """Return the user of an app, which is its group, too; leased now if it has none. Raises NoUser, OSError."""
        return self._lease(f"{_APP}{app}")

    def of_service(self, name: str, service: str) -> int:
        """Return the group of those that share the files of a service. Raises NoUser, OSError."""
        return self._lease(f"{_SERVICE}{name}.{service}")

    def known(self, app: str) -> int | None:
        """Return the user of an app, None if it has none."""
        return _leases(self._paths).get(f"{_APP}{app}")

    def _lease(self, name: str) -> int:
        found = _leases(self._paths).get(name)
        if found is not None:
            return found
        with _locked(self._paths.users):
            leases = dict(_leases(self._paths) or self._by_homes())
            if name not in leases:
                leases = {each: number for each, number in leases.items() if self._is_used(each, number)}
                leases[name] = self._free(leases.values())
                replace_file(self._paths.users, json.dumps(leases))
        return leases[name]

    def _by_homes(self) -> dict[str, int]:
        """Return what the owners of homes say, where the leases were lost."""
        found = {}
        with suppress(OSError), os.scandir(self._paths.home("any").parent) as homes:
            for home in homes:
                user = home.stat(follow_symlinks=False).st_uid
                if user in self._numbers:
                    found[f"{_APP}{home.name}"] = user
        return found

    def _is_used(self, name: str, number: int) -> bool:
        """Whether something is left of a lease: directories of the app, a process, or a file of that user."""
        kind, _, rest = name.partition(":")
        if f"{kind}:" == _SERVICE:
            service, _, id_ = rest.rpartition(".")
            return os.path.lexists(self._paths.service(service, id_))
        if any(os.path.lexists(each) for each in (self._paths.home(rest), self._paths.app(rest))):
            return True
        ours = (str(self._paths.state / "services"), str(self._paths.short_scratches), *self._elsewhere)
        return number in set(_running()) or _has_files(number, (*ours, *_SHARED), ours)

    def _free(self, taken: Collection[int]) -> int:
        """Return a number that nothing here has; two state directories begin at different ones. Raises NoUser."""
        used, others = {*taken, *_running()}, list(_subordinate())
        size = len(self._numbers)
        start = zlib.crc32(os.fsencode(self._paths.state))
        for offset in range(size):
            number = self._numbers[(start + offset) % size]
            if number not in used and not any(number in each for each in others) and not _is_known(number):
                return number
        first, last = self._numbers.start, self._numbers[-1]
        raise NoUser(f"all users from {first} to {last} are in use: widen isolation.uids of the host's settings")


def app_users(paths: StatePaths) -> Mapping[int, str]:
    """Return the apps that have a user of their own, by user."""
    return {number: name.removeprefix(_APP) for name, number in _leases(paths).items() if name.startswith(_APP)}


def _leases(paths: StatePaths) -> Mapping[str, int]:
    """Return the leases, read again only when the file is another one; none if there is none, or a damaged one."""
    try:
        found = paths.users.lstat()
    except OSError:
        return {}
    return _read(paths.users, found.st_ino, found.st_mtime_ns)


@cache
def _read(file: Path, inode: int, changed_ns: int) -> Mapping[str, int]:  # noqa: ARG001  they say which file it is
    try:
        stored = read_record(file, _MOST_OF_A_FILE)
        return {name: number for name, number in stored.items() if type(number) is int and 0 < number < 2**32 - 1}
    except (OSError, ValueError, AttributeError):
        return {}


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Have no other process lease meanwhile."""
    lock = os.open(file.with_name(f"{file.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@cache
def _lacks(first: int, last: int) -> str:
    if os.geteuid() != 0:
        return "the daemon is not root"
    has = int(_of_status("CapEff"), 16)
    missing = [f"CAP_{name}" for name, number in _NEEDED.items() if not has >> number & 1]
    if missing:
        return f"the daemon lacks {' and '.join(missing)}"
    for line in read_proc("/proc/self/uid_map").splitlines():
        start, _, count = map(int, line.split())
        if start <= first and last < start + count:
            return ""
    return f"the users from {first} to {last} are not those of this container: set isolation.uids"


def _of_status(name: str, pid: str = "self") -> str:
    for line in read_proc(f"/proc/{pid}/status").splitlines():
        if line.startswith(f"{name}:"):
            return line.partition(":")[2].strip()
    return "0"


def _running() -> Iterator[int]:
    """Return the users of all processes."""
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with suppress(OSError):
                yield from map(int, _of_status("Uid", entry.name).split())


def _is_known(number: int) -> bool:
    """Whether a user or a group of this host has this number."""
    import grp  # only a new lease asks
    import pwd

    for look in (pwd.getpwuid, grp.getgrgid):
        with suppress(KeyError):
            look(number)
            return True
    return False


def _subordinate() -> Iterator[range]:
    """Return the ranges that users may take for namespaces of their own (subuid(5), subgid(5))."""
    for file in ("/etc/subuid", "/etc/subgid"):
        with suppress(OSError), Path(file).open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with suppress(ValueError):
                    first, count = map(int, line.strip().split(":")[1:])
                    yield range(first, first + count)


def _has_files(user: int, tops: tuple[str, ...], ours: tuple[str, ...]) -> bool:
    """Whether a file below one of these directories is a user's; so it may be, if there are too many to look at.

    Outside of `ours` only those directories are entered in which others may make files.
    """
    waiting, left = list(tops), _MOST_LOOKED_AT
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                left -= 1
                facts = entry.stat(follow_symlinks=False)
                if left < 0 or facts.st_uid == user:
                    return True
                if stat.S_ISDIR(facts.st_mode) and (facts.st_mode & 0o022 or f"{entry.path}/".startswith(ours)):
                    waiting.append(entry.path)
    return False
