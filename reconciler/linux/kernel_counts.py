"""Leave its user a part of what the kernel counts by user, whatever runs in namespaces below: user_namespaces(7).

What a process makes counts for its user in its user namespace, then for the user who made that namespace in the one
above, and so on. In each, the most that a user may have is that namespace's own. Little is imported here: processes
that are about to become other programs load it.
"""

import os
import resource

from reconciler.linux.kernel_calls import call_libc, prctl

TYPE_CHECKING = False  # as that of `typing`, which takes a while to load
if TYPE_CHECKING:
    from collections.abc import Callable

_NEW_USER = 0x10000000
_HOSTS = 0xEFFFFFFD  # linux/proc_ns.h
_SET_DUMPABLE = 4  # linux/prctl.h
# Which part of what the host lets a user have of inotify(7) is for one app, and for all that count as one user.
_OF_ONE = {"instances": (1, 4), "watches": (1, 2)}
_OF_ALL = {"instances": (3, 4), "watches": (1, 2)}


def is_hosts() -> bool:
    """Whether this process is in the host's own user namespace, in which no user counts for another."""
    return os.stat("/proc/self/ns/user").st_ino == _HOSTS  # noqa: PTH116  pathlib would have to be loaded


def bound_watches(*, of_all: bool = False, settings: str = "/proc/sys") -> None:
    """Let no user of this namespace have all the watches of inotify(7) that the user who made it may have.

    One app has a quarter of the instances, of which it needs few, and half of the watches; a user that all apps
    together count for has three quarters and half. Needs CAP_SYS_RESOURCE there.
    """
    for name, (some, parts) in (_OF_ALL if of_all else _OF_ONE).items():
        try:
            most = _number(f"{settings}/fs/inotify/max_user_{name}")
            write_once(f"{settings}/user/max_inotify_{name}", str(max(1, most * some // parts)))
        except (OSError, ValueError):
            pass


def leave_processes(*, settings: str = "/proc/sys") -> None:
    """Let the user that this process is about to be run half of the processes that the host can have.

    Where there are none left no program starts another one, be it of root: the daemon, and an operator's shell.
    """
    try:
        most = min(_number(f"{settings}/kernel/{name}") for name in ("pid_max", "threads-max")) // 2
    except (OSError, ValueError):
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft == resource.RLIM_INFINITY or soft > most:
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most if hard == resource.RLIM_INFINITY else min(most, hard)))


def count_as_one() -> int:
    """Return a descriptor of a new user namespace, of the users of this one, in which all count as the last of these.

    No process of that user is to be in this namespace: it would have every right over those in the new one. This
    process may become any of its users, and has one thread. Raises OSError.
    """
    users, groups = _ranges("uid_map"), _ranges("gid_map")

    def leave() -> None:
        os.setgroups([])
        os.setresgid(groups[-1][-1], groups[-1][-1], groups[-1][-1])
        os.setresuid(users[-1][-1], users[-1][-1], users[-1][-1])
        _leave_bounded()
        prctl(_SET_DUMPABLE, 1)  # its parent writes into files of it
        bound_watches()

    def give(pid: int) -> None:
        for name, ranges in (("gid_map", groups), ("uid_map", users)):
            write_once(f"/proc/{pid}/{name}", "".join(f"{each[0]} {each[0]} {len(each)}\n" for each in ranges))

    return made_by_another(leave, give, "no user namespace can be made")


def count_below() -> int:
    """Return a descriptor of a new user namespace of this user alone, who may have less there than here.

    All namespaces that are made in it count there for that user. This process has one thread. Raises OSError.
    """
    uid, gid = os.geteuid(), os.getegid()

    def leave() -> None:
        _leave_bounded()
        bound_watches(of_all=True)
        know_only(uid, gid)

    return made_by_another(leave, lambda _: None, "no user namespace can be made")


def know_only(uid: int, gid: int) -> None:
    """Have no user and no group but these, which were this process's own, in its new user namespace. Raises OSError."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        write_once(f"/proc/self/{name}", text)


def enter(namespace: int) -> None:
    """Become a member of a user namespace, by its descriptor, which is closed. Raises OSError."""
    try:
        call_libc("setns", namespace, _NEW_USER)
    finally:
        os.close(namespace)


def has_user(namespace: int, uid: int) -> bool:
    """Return whether a process of this one's user has the number `uid` in a user namespace, by its descriptor."""
    pid = os.fork()
    if pid == 0:
        try:
            call_libc("setns", namespace, _NEW_USER)
            os._exit(0 if os.geteuid() == uid else 1)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def made_by_another(leave: "Callable[[], None]", give: "Callable[[int], None]", refused: str) -> int:
    """Have another process leave this user namespace; return a descriptor of its own, once that was given its users.

    One that was given none would leave this process without its own user. Raises OSError, which says `refused` if it
    could not leave.
    """
    asked, waits = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.close(waits[1])
            leave()
            os.write(asked[1], b"l")
            os.read(waits[0], 1)
        finally:
            os._exit(0)
    try:
        os.close(asked[1])
        if not os.read(asked[0], 1):
            raise PermissionError(refused)
        give(pid)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        for end in (asked[0], *waits):
            os.close(end)
        os.waitpid(pid, 0)


def leave_users() -> None:
    """Have a user namespace of its own, in which no user is known yet. Raises OSError."""
    call_libc("unshare", _NEW_USER)


def _leave_bounded() -> None:
    """Have a user namespace of its own; all in it together may run three quarters of what its user may run."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft != resource.RLIM_INFINITY:  # the new one has that as its bound, from Linux 5.14 on
        resource.setrlimit(resource.RLIMIT_NPROC, (soft * 3 // 4, hard))
    leave_users()


def _ranges(name: str) -> "list[range]":
    with open(f"/proc/self/{name}", encoding="utf-8") as file:  # noqa: PTH123  as above
        lines = [line.split() for line in file.read().splitlines()]
    return [range(int(first), int(first) + int(count)) for first, _, count in lines]


def _number(path: str) -> int:
    with open(path, encoding="utf-8") as file:  # noqa: PTH123  pathlib would have to be loaded
        return int(file.read(32))


def write_once(path: str, text: str) -> None:
    """Write a file of the kernel by one call, as it asks for. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
