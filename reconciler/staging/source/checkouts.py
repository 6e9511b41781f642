"""Tell whether git is changing the files of a source: until it is done, it holds the lock of the index.

The lock is made before the first file is written and goes when the last one has been. One that a killed git left behind
is older than what it is asked about. See https://git-scm.com/docs/api-lockfile.
"""

import os
from time import time_ns

from reconciler.linux.regular_files import read_file

_LOCK = "index.lock"
# How long git may read its index before it writes the first file.
_AHEAD_S = 60.0
_POINTER = b"gitdir: "
_LARGEST_POINTER = 4096


def is_being_checked_out(place: str, began_ago_s: float) -> bool:
    """Tell whether git is writing in the working tree of a place, which began to change so long ago. Blocks."""
    directory = _git_directory(place)
    if directory is None:
        return False
    try:
        made_ns = os.stat(f"{directory}/{_LOCK}").st_mtime_ns  # noqa: PTH116  text
    except OSError:
        return False
    return (time_ns() - made_ns) / 1e9 < began_ago_s + _AHEAD_S


def _git_directory(place: str) -> str | None:
    """Return the git directory of the working tree that a place is in, None if it is in none."""
    while True:
        found = f"{place.rstrip('/')}/.git"
        if os.path.isdir(found):  # noqa: PTH112  text
            return found
        try:
            pointer = read_file(found, _LARGEST_POINTER)
        except OSError:
            pointer = b""
        if pointer.startswith(_POINTER):
            return os.path.join(place, os.fsdecode(pointer[len(_POINTER) :].strip()))  # noqa: PTH118  text
        if (above := os.path.dirname(place)) == place:  # noqa: PTH120  text
            return None
        place = above
