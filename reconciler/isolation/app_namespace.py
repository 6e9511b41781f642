"""Have the users of apps in this process, which is not root: in a user namespace, given by the warden.

Apps outlive the daemon in their namespace. The next daemon joins it, or it would have no right to end them.
"""

import os
import socket
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from reconciler.isolation.roots_files import note_roots_files
from reconciler.linux.kernel_counts import bound_watches, leave_users, made_by_another
from reconciler.linux.privileges import SETPCAP, SYS_ADMIN, SYS_CHROOT, may
from reconciler.linux.proc_files import read_proc
from reconciler.linux.process_identity import owner_of
from reconciler.linux.user_namespaces import (
    forbidden,
    join_users,
    keep_capabilities,
    namespace_above,
    owner_of_namespace,
    users_of,
)

# What starting as another user takes, and finding such a process again (linux/capability.h).
NEEDED = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "KILL": 5, "SETGID": 6, "SETUID": 7, "SYS_PTRACE": 19}
_ANSWER_S = 5.0


def become_warded(leased: Collection[int], noted: Callable[[], Iterable[str | Path]] = tuple) -> None:
    """Join the namespace of the apps that run, by the users leased to them, or one that the warden gives.

    Where there is none of both, nothing changes. Which of the files `noted` are root's is known from there, too. This
    process has one thread.
    """
    if os.geteuid() == 0 or all(map(may, NEEDED.values())):
        return
    with suppress(OSError):
        namespace = _running(leased)
        namespace = _given() if namespace is None else namespace
        try:
            with suppress(OSError):  # without that, apps are executed
                note_roots_files(noted())
            join_users(namespace)
            bound_watches(of_all=True)
        finally:
            os.close(namespace)
        keep_capabilities((*NEEDED.values(), SETPCAP, SYS_ADMIN, SYS_CHROOT))


def no_warden() -> str:
    """Say why no warden gives this process users, "" if one is there that could."""
    if why := forbidden():
        return why
    try:
        _connected().close()
    except OSError as error:
        return f"no warden answers at {_path()}: {error.strerror or error}"
    return ""


def has_users(pid: int, users: range) -> bool:
    """Whether a process, which is not root, may become these users."""
    with suppress(OSError):
        rights = next(line for line in read_proc(f"/proc/{pid}/status").splitlines() if line.startswith("CapEff:"))
        return all(int(rights.split()[1], 16) >> number & 1 for number in NEEDED.values()) and any(
            users.start in each and users[-1] in each for each in users_of(pid)
        )
    return False


def _running(leased: Collection[int]) -> int | None:
    """Return a descriptor of the namespace in which apps of this daemon run as users of their own, None without one."""
    if not leased:
        return None
    own = os.stat("/proc/self/ns/user").st_ino  # noqa: PTH116  very many of its kind below
    for pid in _pids():
        with suppress(OSError):
            found = _made_here(pid)
            if (
                os.fstat(found).st_ino != own
                and owner_of_namespace(found) == os.geteuid()
                and len(users_of(pid)) > 1
                and owner_of(int(pid)) in leased
            ):
                return found
            os.close(found)
    return None


def _made_here(pid: str) -> int:
    """Return a descriptor of the namespace of an app, or of the one above, of which this user is the owner.

    Apps count in one of their own, but for those that an earlier version started. Raises OSError.
    """
    found = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if owner_of_namespace(found) != os.geteuid():
            return namespace_above(found)
        return os.dup(found)
    finally:
        os.close(found)


def _pids() -> Iterator[str]:
    return filter(str.isdecimal, os.listdir("/proc"))  # noqa: PTH208  names are all there is to know


def _given() -> int:
    """Return a descriptor of a new namespace that the warden has given users. Raises OSError."""
    _path().stat()  # most hosts have no warden, and are spared that process
    return made_by_another(_ask, lambda _: None, "the warden gave no users")


def _ask() -> None:
    from reconciler.isolation.warden import GIVEN, REQUEST

    with _connected() as connection:
        leave_users()
        connection.send(REQUEST)
        if connection.recv(len(GIVEN)) != GIVEN:
            raise PermissionError


def _connected() -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.settimeout(_ANSWER_S)
        connection.connect(str(_path()))
    except BaseException:
        connection.close()
        raise
    return connection


def _path() -> Path:
    from reconciler.isolation.warden import place_of

    return place_of()
