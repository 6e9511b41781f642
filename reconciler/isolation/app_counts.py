"""Have all apps count as one user for what the kernel counts by user, which leaves the daemon a part of it.

Where this process may become other users, each app enters a namespace in which it counts as one of these that no
process has. Elsewhere all apps make theirs within one that the daemon holds: apps outlive it there, and the next daemon
finds it by them.
"""

import os

from reconciler.linux.kernel_counts import count_as_one, count_below, enter, has_user, is_hosts
from reconciler.linux.privileges import SYS_ADMIN, drop_capabilities, may

TYPE_CHECKING = False  # as that of `typing`, which takes a while to load
if TYPE_CHECKING:
    from collections.abc import Iterator


def counts_of(uid: "int | None") -> "int | None":
    """Return the namespace for what becomes that user, None for the daemon's; None if it counts apart anyway.

    It does with a user of its own in the host's own namespace. None, too, where no namespace can be had.
    """
    if not may(SYS_ADMIN) or (uid is not None and is_hosts()):
        return None
    try:
        return count_as_one()
    except OSError:
        return None


def hold_counts() -> None:
    """Hold the namespace of the apps that run, or a new one, where this process may become no other user.

    Where no namespace can be had, apps have none either. This process has one thread.
    """
    global _held  # noqa: PLW0603  the process has one, as each of its apps has
    if may(SYS_ADMIN) or os.geteuid() == 0:
        return
    try:
        _held = next(_running(), None) or count_below()
    except OSError:
        return


def held_counts() -> str:
    """Return the path of what this process holds, "" if it holds none."""
    return "" if _held is None else f"/proc/{os.getpid()}/fd/{_held}"


def enter_counts(path: str) -> None:
    """Become a member of what a daemon holds, without a right there; of nothing once that daemon has ended."""
    try:
        enter(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return
    drop_capabilities()


def _running() -> "Iterator[int]":
    """Return descriptors of the namespace in which apps of this user run, each in one of its own within."""
    from reconciler.linux.user_namespaces import namespace_above, owner_of_namespace, users_of

    uid, own = os.geteuid(), _number_of(os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC))
    for pid in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208  names are all there is to know
        try:
            innermost = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # of another user
            continue
        above = -1
        try:
            above = namespace_above(innermost)
            if (
                _number_of(namespace_above(above)) == own
                and owner_of_namespace(innermost) == owner_of_namespace(above) == uid
                and users_of(pid) == [range(uid, uid + 1)]
                and has_user(above, uid)
            ):
                yield os.dup(above)
        except OSError:
            continue
        finally:
            for each in {innermost, above} - {-1}:
                os.close(each)


def _number_of(namespace: int) -> int:
    """Return what tells a namespace from others, by its descriptor, which is closed."""
    try:
        return os.fstat(namespace).st_ino
    finally:
        os.close(namespace)


_held: "int | None" = None
