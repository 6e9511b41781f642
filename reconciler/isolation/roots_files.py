"""Know which files of the host are root's, in a user namespace that root is not in: by what was noted before.

There all files of root, and of other users of the host, show as those of one user. One that was root's, and is the same
file still, is root's: no other user could have given it away since.
"""

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from reconciler.linux.user_namespaces import root_here

_NOTED: dict[Path, tuple[int, int, int]] = {}


def note_roots_files(paths: Iterable[str | Path]) -> None:
    """Note which of these files, links followed, and of the directories above them belong to root now."""
    looked_at = set[Path]()
    for path in paths:
        found = Path(os.path.realpath(path))
        for each in (found, *found.parents):
            if each in looked_at:
                break
            looked_at.add(each)
            with suppress(OSError):
                facts = each.stat()
                if facts.st_uid == 0:
                    _NOTED[each] = _which(facts)


def is_roots(path: Path, found: os.stat_result) -> bool:
    """Whether a file, of which `found` is what stat says, is root's; one that came since is not known to be."""
    return found.st_uid == root_here() and (found.st_uid == 0 or _NOTED.get(path) == _which(found))


def _which(found: os.stat_result) -> tuple[int, int, int]:
    """Return what tells a file from any other, and from what it was before it changed; of a directory, itself alone."""
    return found.st_dev, found.st_ino, 0 if stat.S_ISDIR(found.st_mode) else found.st_ctime_ns
