"""Become a program that has less of a host than these tests have: python -m tests.support.surrounded HOW WORDS…

HOW is one of those below, by its name with hyphens; root is needed for each.
"""

import errno
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from reconciler.linux.kernel_calls import call_libc
from reconciler.linux.privileges import gain_no_more
from reconciler.linux.seccomp import Rule, filter_of, install

_NEW_MOUNTS, _NEW_USERS = 0x20000, 0x10000000
_PRIVATE, _ALL_BELOW = 0x40000, 0x4000
# mount, umount2, pivot_root, unshare, setns, open_tree, move_mount, fsopen, fsmount, mount_setattr: <asm/unistd.h>
_MOUNTING = {
    "x86_64": (165, 166, 155, 272, 308, 428, 429, 430, 432, 442),
    "aarch64": (40, 39, 41, 97, 268, 428, 429, 430, 432, 442),
}
_KNOWN_CALLS = 467
_USERS = 80_000  # those of apps, too


def _without_mounts() -> None:
    """As most containers are: no call that mounts, and no namespace."""
    machine = os.uname().machine
    gain_no_more()
    install(filter_of(machine, [Rule(call, errno.EPERM) for call in _MOUNTING[machine]], _KNOWN_CALLS, errno.ENOSYS))


def _without_control_groups() -> None:
    """As where no file system of theirs is mounted."""
    call_libc("unshare", _NEW_MOUNTS)
    call_libc("mount", None, b"/", None, _PRIVATE | _ALL_BELOW, None)
    call_libc("mount", b"none", b"/sys/fs/cgroup", b"tmpfs", 0, None)


def _root_of_a_user_namespace() -> None:
    """As a container with users of its own is: root there, with no right over what is outside."""
    asked, given = os.pipe(), os.pipe()
    outside = os.getpid()
    if os.fork() == 0:
        os.read(asked[0], 1)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{outside}/{name}").write_text(f"0 0 {_USERS}")
        os.write(given[1], b"g")
        os._exit(0)
    call_libc("unshare", _NEW_USERS)
    os.write(asked[1], b"a")
    os.read(given[0], 1)
    os.wait()


HOWS: Mapping[str, Callable[[], None]] = {
    "without-mounts": _without_mounts,
    "without-control-groups": _without_control_groups,
    "root-of-a-user-namespace": _root_of_a_user_namespace,
}

if __name__ == "__main__":
    HOWS[sys.argv[1]]()
    os.execvp(sys.argv[2], sys.argv[2:])
