"""Keep the directories of an app's instances to those that are used, whatever the app itself put beside them.

The loop is held up by a bounded number of renames; what was set aside is removed elsewhere.
"""

import contextlib
from collections.abc import Callable, Collection
from pathlib import Path

from reconciler.linux.files import is_leftover, set_aside
from reconciler.linux.listing import names_in
from reconciler.linux.removals import Removals

# Reconciler makes a few: where there are more, the directory is replaced by one with only what is used.
_MOST = 500


def keep_only(
    directory: Path, used: Collection[str], make_directory: Callable[[Path], None], removals: Removals
) -> None:
    """Remove all but the entries of these names from a directory. Raises OSError."""
    try:
        found = names_in(directory, _MOST + 1)
    except FileNotFoundError:
        return
    except NotADirectoryError:  # a link, too
        removals.begin(directory)
        return
    if len(found) > _MOST:
        _replace(directory, used, make_directory, removals)
        return
    for name in found:
        if name not in used:
            with contextlib.suppress(OSError, RuntimeError):  # it stays until the next time
                removals.begin(directory / name)


def _replace(
    directory: Path, used: Collection[str], make_directory: Callable[[Path], None], removals: Removals
) -> None:
    for left in filter(is_leftover, names_in(directory.parent, _MOST)):  # by an earlier daemon
        removals.begin(directory.parent / left)
    if (gone := set_aside(directory)) is None:
        return
    make_directory(directory)
    for name in used:
        with contextlib.suppress(OSError):  # it is not there yet
            (gone / name).rename(directory / name)
    removals.begin(gone)
