"""The state directory belongs to the user who uses it, or it is refused: the daemon runs programs that lie in it.

What another user owns, or could put something else in place of, is none of ours, whatever it holds.
"""

import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


class NotOurs(PermissionError):
    """The state directory, or something on the way to it or in it, belongs to another user; says what to do."""


def require_ours(state: Path) -> None:
    """Raise NotOurs unless a state directory that exists, and everything directly in it, belong to this user.

    A link must belong to this user or to root, as must what lies in the directory. For root, no other user may be able
    to rename a directory above it. Raises OSError if it cannot be read.
    """
    _require_owner(state, state.lstat(), state, (os.geteuid(), 0) if state.is_symlink() else (os.geteuid(),))
    opened = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _require_owner(state, os.fstat(opened), state, (os.geteuid(),))
        with os.scandir(opened) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    _require_owner(state / entry.name, entry.stat(follow_symlinks=False), state, (os.geteuid(), 0))
    finally:
        os.close(opened)
    if os.geteuid() == 0:
        for above in (*state.parents, *state.resolve().parents):
            _require_safe(above, state)


def _require_owner(path: Path, found: os.stat_result, state: Path, owners: tuple[int, ...]) -> None:
    if found.st_uid not in owners:
        raise NotOurs(
            f"cannot use {path}: it belongs to {user(found.st_uid)}, and this is {user(os.geteuid())};"
            f" {_remedy(found.st_uid, path, state)}"
        )


def _remedy(owner: int, path: Path, state: Path) -> str:
    elsewhere = "name another directory with --state"
    if path != state:
        return f"remove it if it is none of {state}'s files, or {elsewhere}"
    with suppress(KeyError):
        return f"run this command as its owner (sudo -u {pwd.getpwuid(owner).pw_name} …), or {elsewhere}"
    return f"run this command as its owner, or {elsewhere}"


def _require_safe(above: Path, state: Path) -> None:
    """Raise NotOurs if another user than root could rename what is in this directory."""
    found = above.stat()
    if not is_open_to_others(found, (0,)):
        return
    who = f"belongs to {user(found.st_uid)}" if found.st_uid else f"has mode {stat.S_IMODE(found.st_mode):04o}"
    raise NotOurs(
        f"cannot use {state} as root: {above} {who}, so that other users can put something else in its place;"
        f" choose a directory below those of root with --state, such as /var/lib/reconciler"
    )


def is_open_to_others(found: os.stat_result, owners: tuple[int, ...]) -> bool:
    """Whether another user than these owners may change a file, or rename what is in a directory."""
    is_sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    return found.st_uid not in owners or bool(found.st_mode & _OTHERS_MAY_WRITE and not is_sticky)


def user(uid: int) -> str:
    """Return such as "user 1001 (anna)"."""
    with suppress(KeyError):
        return f"user {uid} ({pwd.getpwuid(uid).pw_name})"
    return f"user {uid}"
