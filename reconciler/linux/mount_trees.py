"""Make a process's own tree of mounts: copies of what the host has, below a new root.

By the calls of Linux 5.12 that work on descriptors (open_tree(2), move_mount(2), mount_setattr(2)): a copy has its
rights before it is seen anywhere.
"""

import os

from reconciler.linux.kernel_calls import call, call_libc
from reconciler.linux.kernel_counts import bound_watches, know_only

READ_ONLY, NO_SUID, NO_DEVICES, NO_EXEC, MAPPED = 1, 2, 4, 8, 0x100000

_CLONE_NEWNS, _CLONE_NEWIPC, _CLONE_NEWUSER = 0x20000, 0x08000000, 0x10000000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_MNT_DETACH = 2
_AT_FDCWD = -100
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 428, 429, 430, 431, 432, 442
_TREE_CLONE, _TREE_CLOEXEC = 1, os.O_CLOEXEC
_FROM_EMPTY_PATH = 0x4
_CLOSE_ON_EXEC = 1
_SET_STRING, _CREATE = 1, 6
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}


def leave_mounts(*, as_user: bool) -> None:
    """Give this process mounts of its own, and queues and shared memory of its own (ipc_namespaces(7)).

    `as_user` does that by a user namespace in which it has its own user and group only. Raises OSError.
    """
    uid, gid = os.geteuid(), os.getegid()
    call_libc("unshare", _CLONE_NEWNS | _CLONE_NEWIPC | (_CLONE_NEWUSER if as_user else 0))
    if as_user:
        bound_watches()
        know_only(uid, gid)
    call_libc("mount", None, b"/", None, _MS_REC | _MS_PRIVATE, None)


def join_mounts(mounts: int, queues: int) -> None:
    """Have the mounts, and the queues and shared memory, of these namespaces; begin at their root. Raises OSError."""
    call_libc("setns", mounts, _CLONE_NEWNS)
    call_libc("setns", queues, _CLONE_NEWIPC)


def copy_of(path: str, attributes: int, *, below: int = _AT_FDCWD, users: "int | None" = None) -> int:
    """Copy what is at a path with all that is mounted below it; return its descriptor. Raises OSError.

    One that is `MAPPED` shows the `users` of a namespace, by its descriptor: what a user has on the disk belongs to the
    one whom that user is outside of the namespace.
    """
    flags = _TREE_CLONE | _TREE_CLOEXEC | _AT_RECURSIVE
    tree = call(_OPEN_TREE, below, os.fsencode(path), flags)
    try:
        restrict(tree, attributes, all_below=True, users=users)
    except OSError:
        os.close(tree)
        raise
    return tree


def new_file_system(kind: str, attributes: int, **options: str) -> int:
    """Mount a file system that is nowhere yet; return the descriptor of its root. Raises OSError."""
    context = call(_FSOPEN, kind.encode(), _CLOSE_ON_EXEC)
    try:
        for name, value in options.items():
            call(_FSCONFIG, context, _SET_STRING, name.encode(), value.encode(), 0)
        call(_FSCONFIG, context, _CREATE, None, None, 0)
        return call(_FSMOUNT, context, _CLOSE_ON_EXEC, attributes)
    finally:
        os.close(context)


def restrict(tree: int, attributes: int, *, all_below: bool = False, users: "int | None" = None) -> None:
    """Add attributes to a mount, by its descriptor; only one that is `MAPPED` gets `users`. Raises OSError."""
    asked = b"".join(value.to_bytes(8, "little") for value in (attributes, 0, 0, 0 if users is None else users))
    call(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH | (_AT_RECURSIVE if all_below else 0), asked, len(asked))


def attach(tree: int, path: str, *, below: int = _AT_FDCWD) -> None:
    """Put a mount that is nowhere yet at a path. Raises OSError."""
    call(_MOVE_MOUNT, tree, b"", below, os.fsencode(path), _FROM_EMPTY_PATH)


def become_root(tree: int) -> None:
    """Make a mount, by its descriptor, the root of this process, and leave the old one. Raises OSError."""
    os.fchdir(tree)
    call(_PIVOT_ROOT[os.uname().machine], b".", b".")
    call_libc("umount2", b".", _MNT_DETACH)
    os.chdir("/")
