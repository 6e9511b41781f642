"""Have one user own, in a mount, what root owns on the disk: mount_setattr(2), MOUNT_ATTR_IDMAP, from Linux 5.12 on.

A program that is to make root's files then needs none of root's rights: what it makes is root's by the way that it
takes. Little is imported here: processes that are about to become other programs load it.
"""

import os

from reconciler.linux.kernel_counts import leave_users, made_by_another, write_once
from reconciler.linux.mount_trees import MAPPED, copy_of

_NUMBERS = 2**32 - 1  # that a user or a group may have


def in_place_of_root(uid: int, gid: int) -> int:
    """Return a descriptor of what has a user and a group change places with root and its group in a mount.

    All others are there what they are on the disk. Raises OSError.
    """

    def give(pid: int) -> None:
        for name, number in (("gid_map", gid), ("uid_map", uid)):
            ranges = (
                (0, number, 1),
                (1, 1, number - 1),
                (number, 0, 1),
                (number + 1, number + 1, _NUMBERS - number - 1),
            )
            write_once(f"/proc/{pid}/{name}", "".join(f"{inside} {here} {count}\n" for inside, here, count in ranges))

    return made_by_another(leave_users, give, "no user namespace can be made")


def not_mapped(paths: "tuple[str, ...]", users: int) -> str:
    """Return the first of these paths that is there and cannot be shown with such users, "" if there is none.

    Not every file system can do that.
    """
    for path in paths:
        try:
            if os.path.exists(path):  # noqa: PTH110  pathlib would have to be loaded
                os.close(copy_of(path, MAPPED, users=users))
        except OSError:
            return path
    return ""
