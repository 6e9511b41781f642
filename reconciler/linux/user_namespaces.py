"""Join a user namespace, and keep there what a program that is executed would lose: user_namespaces(7)."""

import fcntl
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from reconciler.linux.kernel_calls import call_libc
from reconciler.linux.privileges import set_capabilities
from reconciler.linux.proc_files import read_proc

_NEW_USER = 0x10000000
_PARENT, _OWNER_UID = 0xB702, 0xB704  # linux/nsfs.h
# What a host may have set to keep its users from namespaces, and the value that does.
_FORBIDS = {
    "user.max_user_namespaces": "0",
    "kernel.unprivileged_userns_clone": "0",
    "kernel.apparmor_restrict_unprivileged_userns": "1",
}
_SET_AMBIENT, _RAISE = 47, 2  # linux/prctl.h


def forbidden(settings: Path = Path("/proc/sys")) -> str:
    """Say by what this host keeps users who are not root from namespaces of their own, "" if it does not."""
    for name, value in _FORBIDS.items():
        with suppress(OSError):
            if read_proc(str(settings / name.replace(".", "/"))).strip() == value:
                return f"this host lets no user have namespaces: {name} is {value}"
    return ""


def join_users(namespace: int) -> None:
    """Become a member of a user namespace, by its descriptor; this process has one thread. Raises OSError."""
    call_libc("setns", namespace, _NEW_USER)


def keep_capabilities(numbers: Iterable[int]) -> None:
    """Have these capabilities, which this process has, and every program that it executes, too. Raises OSError."""
    numbers = tuple(numbers)
    wanted = sum(1 << number for number in numbers)
    set_capabilities(effective=wanted, permitted=wanted, inheritable=wanted)
    for number in numbers:
        call_libc("prctl", _SET_AMBIENT, _RAISE, number, 0, 0)


def owner_of_namespace(namespace: int) -> int:
    """Return the user who made a user namespace, by its descriptor. Raises OSError."""
    found: bytes = fcntl.ioctl(namespace, _OWNER_UID, bytes(4))
    return int(struct.unpack("I", found)[0])


def namespace_above(namespace: int) -> int:
    """Return a descriptor of the user namespace in which another was made, by its descriptor. Raises OSError."""
    return int(fcntl.ioctl(namespace, _PARENT))


def users_of(pid: int | str = "self") -> list[range]:
    """Return the users that the namespace of a process has, by their numbers in it. Raises OSError."""
    lines = [list(map(int, line.split())) for line in read_proc(f"/proc/{pid}/uid_map").splitlines()]
    return [range(first, first + count) for first, _, count in lines]


def root_here() -> int:
    """Return the number that root of the host has for this process: another one where root is not in its namespace."""
    if any(0 in each for each in users_of()):
        return 0
    return int(read_proc("/proc/sys/kernel/overflowuid"))


def subordinate() -> Iterator[range]:
    """Return the ranges that users may take for namespaces of their own (subuid(5), subgid(5))."""
    for file in ("/etc/subuid", "/etc/subgid"):
        with suppress(OSError), Path(file).open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with suppress(ValueError):
                    first, count = map(int, line.strip().split(":")[1:])
                    yield range(first, first + count)


def numbers_of_others() -> Iterator[tuple[int, str]]:
    """Return the number of each user and group that this host knows of, and the ends of what users may take."""
    import grp
    import pwd

    yield from ((user.pw_uid, f"user {user.pw_name}") for user in pwd.getpwall())
    yield from ((group.gr_gid, f"group {group.gr_name}") for group in grp.getgrall())
    yield from ((number, "a subordinate user") for each in subordinate() if each for number in (each[0], each[-1]))
