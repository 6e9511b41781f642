"""Keep directories of a repository on the disk by their tree ids, whatever has led to them.

Each is complete or absent. Commits that have the same one share it.
"""

import contextlib
import os
import threading
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import leftovers, remove
from reconciler.manifests.git.printed_objects import PrintedObjects
from reconciler.manifests.git.tree_index import Index
from reconciler.manifests.git.tree_limits import directories_above
from reconciler.manifests.git.trees import DamagedTree, Trees
from reconciler.manifests.git.written_files import is_as_written, stamp_of

# A directory that changed this recently may change again at the same time, as the clocks of file systems tell it.
_SETTLED_NS = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stamps:
    """The files and directories of a directory, and a digest of what `lstat` said of all when they were as written."""

    paths: Sequence[str]
    digest: int


class Directories:
    """The directories of one repository by their tree ids, in `directory`, whatever of it is followed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._trees = Trees(directory)
        self.top = directory / "trees"
        self._writing = threading.Lock()  # what is followed is followed in threads
        self._seen: tuple[int, frozenset[str]] = (0, frozenset())
        self._stamps: dict[str, _Stamps] = {}

    def known(self) -> frozenset[str]:
        """Return the tree ids of all that are complete. Blocks; cheap while nothing is written or removed."""
        try:
            changed_at = self.top.stat().st_mtime_ns
        except OSError:
            return frozenset()
        if self._seen[0] == changed_at:
            return self._seen[1]
        is_settled = time.time_ns() - changed_at > _SETTLED_NS
        found = self._trees.whole()
        self._seen = (changed_at if is_settled else 0, found)
        return found

    def missing(self, tree: Index, before: str | None) -> list[str]:
        """Return the objects of a directory that another one does not have. Blocks."""
        return self._trees.missing(tree, before)

    def write(self, tree: Index, objects: PrintedObjects, before: str | None) -> None:
        """Write a directory, unless it is there. Raises OSError; blocks."""
        with self._writing:
            known = self.known()
            if tree.commit not in known:
                self._remove_interrupted()  # by a daemon that was killed
                self._trees.write_from(tree, objects.of(tree), before)
                self._seen = (self.top.stat().st_mtime_ns, known | {tree.commit})  # nothing else writes here

    def is_intact(self, name: str) -> bool:
        """Return whether nothing in a directory has changed since it was written; one that has is unknown then.

        There is no link in it. Blocks; cheap while the times of its files stay as they are.
        """
        top, stamps = f"{self.top}/{name}", self._stamps.get(name)
        if stamps is not None and _digest(top, stamps.paths) == stamps.digest:
            return True
        self._stamps.pop(name, None)
        with contextlib.suppress(DamagedTree):
            index = self._trees.index(name)
            above = {directory for path in index.files for directory in directories_above(path)}
            paths = (*sorted({"", *above}), *index.files)
            digest = _digest(top, paths)
            if digest is not None and is_as_written(top, index.files):
                self._stamps[name] = _Stamps(paths=paths, digest=digest)
                return True
        self._trees.forget(name)
        self._seen = (0, frozenset())
        return False

    def keep(self, used: Collection[str]) -> None:
        """Remove every directory but these, and what was interrupted. Raises OSError; blocks."""
        with self._writing:
            known = self.known()
            gone = known - frozenset(used)
            for name in gone:
                self._stamps.pop(name, None)
                self._trees.forget(name)
                remove(self.top / name)
            if gone:
                self._seen = (self.top.stat().st_mtime_ns, known - gone)
            self._remove_interrupted()

    def _remove_interrupted(self) -> None:
        for directory in (self._directory, self.top):
            with contextlib.suppress(FileNotFoundError):
                for path in list(leftovers(directory)):
                    remove(path)


def _digest(top: str, paths: Sequence[str]) -> int | None:
    """Return a number that changes with whatever changes in these files and directories, None if one is not there."""
    try:
        facts = [os.lstat(f"{top}/{path}") for path in paths]
    except OSError:
        return None
    return hash(tuple(map(stamp_of, facts)))
