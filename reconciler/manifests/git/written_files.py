"""Tell whether the files of a commit are on the disk as they were written."""

import hashlib
import os
from collections.abc import Mapping
from typing import TypeAlias

from reconciler.linux.regular_files import read_own
from reconciler.manifests.git.tree_limits import Entry

FILE_MODE, PROGRAM_MODE = 0o644, 0o755

Stamp: TypeAlias = tuple[int, int, int, int, int]


def stamp_of(facts: os.stat_result) -> Stamp:
    """Return what differs whenever a file was written, replaced, or linked."""
    return facts.st_ino, facts.st_mode, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def is_same(path: str, entry: Entry, stamp: Stamp | None = None) -> bool:
    """Return whether a file on the disk can be linked: it has its mode, and still holds its object.

    That is not looked at of a file which is as it was with this stamp.
    """
    return seen_as(path, entry, stamp) is not None


def seen_as(path: str, entry: Entry, stamp: Stamp | None = None) -> Stamp | None:
    """Return the stamp of a file for which `is_same` holds, None for any other."""
    if entry.kind == "link":
        return None
    mode = PROGRAM_MODE if entry.kind == "program" else FILE_MODE
    try:
        facts = os.lstat(path)
        found = stamp_of(facts)
        if stamp is not None and found == stamp:
            return stamp
        is_alike = facts.st_size == entry.size and facts.st_mode & 0o777 == mode
        return found if is_alike and is_object(read_own(path, entry.size + 1), entry.id) else None
    except OSError:
        return None


def is_as_written(top: str, files: Mapping[str, Entry]) -> bool:
    """Return whether a directory has exactly these files, each with its mode and content. Blocks."""
    found: set[str] = set()
    for above, directories, names in os.walk(top):
        links = [name for name in directories if os.path.islink(f"{above}/{name}")]  # noqa: PTH114  one of thousands
        found.update(f"{above}/{name}"[len(top) + 1 :] for name in (*names, *links))
    return found == files.keys() and all(is_same(f"{top}/{path}", e) for path, e in files.items())


def is_object(content: bytes, object_id: str) -> bool:
    """Return whether git names these bytes so, by SHA-1 or by SHA-256."""
    digest = hashlib.new("sha1" if len(object_id) == 40 else "sha256", usedforsecurity=False)
    digest.update(b"blob %d\0" % len(content))
    digest.update(content)
    return digest.hexdigest() == object_id
