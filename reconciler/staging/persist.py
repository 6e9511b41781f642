"""Keep files of an app outside its builds: each build links to them, and no deploy replaces them.

The first time, what the app has written into an earlier build moves out of it, under the running instance, which keeps
its open files; else the source's own copy is the beginning. Everything here blocks: call it in a thread.
"""

import ctypes
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from reconciler.linux.files import draft, make_below, remove, require_within
from reconciler.linux.regular_files import UnfitFile
from reconciler.linux.remove_tree import remove_tree
from reconciler.staging.errors import StagingError

# SQLite keeps these beside a database, whose real name it derives them from.
_COMPANIONS = ("-wal", "-shm", "-journal")
_EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h


def require_place(code: Path, path: str) -> None:
    """Raise StagingError if a build cannot have a link at `path`: one above it is a file, or leads out of the build."""
    for parent in reversed(Path(path.rstrip("/")).parents[:-1]):
        try:
            found = require_within(code, parent)
        except UnfitFile as error:
            raise StagingError(f"cannot keep '{path}' of 'persist': '{parent}' leads out of the source") from error
        if os.path.lexists(found) and not found.is_dir():
            raise StagingError(
                f"cannot keep '{path}' of 'persist': '{parent}' is a file in the source, not a directory"
            )


def link_persisted(
    code: Path, paths: Sequence[str], kept: Path, earlier: Sequence[Path], has_written: Callable[[Path, str], bool]
) -> None:
    """Replace each of `paths` in a build's draft by a link to the same path below `kept`.

    `kept` is a directory in the app's home, `earlier` are the code directories of earlier builds, newest first;
    `has_written` tells whether the app has written to a path in one. Raises OSError.
    """
    for path in paths:
        name = path.rstrip("/")
        target, place = kept / name, code / name
        make_below(kept.parent, Path(kept.name, name).parent)
        if target.is_symlink() and target.readlink() == target:  # left by a kill within `_move`
            target.unlink()
        if not os.path.lexists(target):
            written = next((each for each in earlier if has_written(each, name)), None)
            if written is not None:
                _move(written / name, target)
            elif place.is_dir() and not place.is_symlink():
                _seed(place, target, partial(shutil.copytree, symlinks=True))
            elif place.is_file() and not place.is_symlink():
                _seed(place, target, shutil.copy2)
            elif path.endswith("/") or "." not in target.name:
                target.mkdir(mode=0o700)
        _clear(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)


def _seed(source: Path, target: Path, copy: Callable[[Path, Path], object]) -> None:
    """Copy the source's own into place, whole or not at all."""
    for left in target.parent.glob(".draft-*"):
        remove(left)
    unfinished = draft(target.parent, target.name)
    copy(source, unfinished)
    unfinished.rename(target)


def _move(written: Path, target: Path) -> None:
    """Move what an instance may have open: its path is a link to the new place from the same instant on."""
    target.symlink_to(target)
    try:
        _exchange(written, target)
    except OSError:  # a file system that cannot
        target.unlink()
        written.rename(target)
        written.symlink_to(target)
    for suffix in _COMPANIONS:
        with suppress(FileNotFoundError):
            written.with_name(written.name + suffix).rename(target.with_name(target.name + suffix))


def _exchange(one: Path, other: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), _EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one))


def _clear(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        remove_tree(place)
    else:
        place.unlink(missing_ok=True)
