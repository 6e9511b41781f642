"""Remove a directory that hostile programs have filled: of any depth, any number of entries, and any kind of them.

Nothing is opened but directories, no link is followed, and no other file system is entered. Two descriptors and no
recursion do for any depth, as each directory is left by its own `..`, which has to be where it was entered from.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import field
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from reconciler.linux.dataclass import dataclass

_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LISTING = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_AT_A_TIME = 10_000
_MOST_LOOKS = 1000  # a program that still runs may fill a directory as fast as it is emptied
_Identity: TypeAlias = tuple[int, int]


@dataclass(slots=True, kw_only=True)
class _Directory:
    """A directory that is being emptied: its name in the one above, its directories, and what cannot be removed."""

    name: str
    identity: _Identity
    pending: list[str] = field(default_factory=list)
    stuck: set[str] = field(default_factory=set)
    looks: int = 0


def remove_tree(path: Path) -> bool:
    """Remove a directory with all that is in it, or whatever else is at this path. Blocks.

    Tells whether nothing is left: what cannot be removed is, with the directories above it.
    """
    try:
        top = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return not os.path.lexists(path)
    try:
        if not _unlinked(path.name, top):
            _empty(path.name, top)
        return not _exists(path.name, top)
    finally:
        os.close(top)


def _empty(name: str, top: int) -> None:
    """Empty a directory of `top` and remove it, as far as that can be done."""
    above, entered = _identity(top), _entered(name, top, None)
    if entered is None:
        return
    here, stack = entered[0], [entered[1]]
    try:
        while stack:
            directory = stack[-1]
            if (below := _next(directory, here)) is not None:
                if (entered := _entered(below, here, directory.identity[0])) is None:
                    directory.stuck.add(below)
                    continue
                os.close(here)
                here = entered[0]
                stack.append(entered[1])
                continue
            stack.pop()
            leading = os.open("..", _PLACE, dir_fd=here)
            os.close(here)
            here = leading
            if _identity(here) != (stack[-1].identity if stack else above):
                return  # it was moved meanwhile
            try:
                os.rmdir(directory.name, dir_fd=here)
            except OSError:
                if stack:
                    stack[-1].stuck.add(directory.name)
    finally:
        os.close(here)


def _next(directory: _Directory, here: int) -> str | None:
    """Unlink what is no directory, and return the next directory to empty, None when no more can be done."""
    while not directory.pending and directory.looks < _MOST_LOOKS:
        directory.looks += 1
        found = 0
        with suppress(OSError), _listing(here) as names:
            for name in islice((name for name in names if name not in directory.stuck), _AT_A_TIME):
                found += 1
                if not _unlinked(name, here):
                    directory.pending.append(name)
        if not found:
            return None
    return directory.pending.pop() if directory.pending else None


@contextmanager
def _listing(here: int) -> Iterator[Iterator[str]]:
    opened = os.open(".", _LISTING, dir_fd=here)
    try:
        with os.scandir(opened) as entries:
            yield (entry.name for entry in entries)
    finally:
        os.close(opened)


def _entered(name: str, above: int, device: int | None) -> tuple[int, _Directory] | None:
    """Open a directory and let its owner into it; None for one that cannot be had, or is of another file system."""
    try:
        here = os.open(name, _PLACE, dir_fd=above)
    except OSError:
        return None
    identity = _identity(here)
    if device is not None and identity[0] != device:
        os.close(here)
        return None
    with suppress(OSError):
        os.chmod(f"/proc/self/fd/{here}", 0o700)  # noqa: PTH101  that very directory, whatever is at its name by now
    return here, _Directory(name=name, identity=identity)


def _unlinked(name: str, above: int) -> bool:
    """Remove what is no directory; tell whether it is gone. A directory, or what cannot be removed, stays."""
    try:
        os.unlink(name, dir_fd=above)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _exists(name: str, above: int) -> bool:
    try:
        os.lstat(name, dir_fd=above)
    except OSError:
        return False
    return True


def _identity(place: int) -> _Identity:
    found = os.fstat(place)
    return found.st_dev, found.st_ino
