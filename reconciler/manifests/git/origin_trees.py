"""Keep the files of the commits of an origin, of which each directory that commits have in common is on the disk once.

In the tree of a commit, a link stands for it. Shared are the directories that manifests name; those of manifests are
not, as `..` in a path that begins there would lead elsewhere.
"""

import contextlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.manifests.git.directories import Directories
from reconciler.manifests.git.printed_objects import PrintedObjects
from reconciler.manifests.git.tree_index import Index
from reconciler.manifests.git.tree_limits import Tree, directories_above
from reconciler.manifests.git.trees import DamagedTree, Trees

_SHARED = "shared"


@dataclass(frozen=True, slots=True, kw_only=True)
class _ToWrite:
    """The shared directories of a commit that are not on the disk, each with the one that was there at its path."""

    commit: str
    before: str | None
    directories: tuple[tuple[Index, str | None], ...]


class OriginTrees(Trees):
    """The trees of one origin in its directory, and what they share."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.shared = Directories(directory / _SHARED)
        self._shared_at = f"{_SHARED}/trees"
        self._shared_by: dict[str, tuple[tuple[int, int], Mapping[str, str]]] = {}
        self._to_write: _ToWrite | None = None

    def missing(self, index: Index, before: str | None, spare: str | None = None) -> list[str]:
        """Return the objects of a tree, each once, that nothing on the disk has. Blocks."""
        self._to_write = self._unwritten(index, before)
        ids = super().missing(index, before, spare)
        for tree, old in self._to_write.directories:
            ids += self.shared.missing(tree, old)
        return list(dict.fromkeys(ids))

    def write(self, index: Index, batch: Path, before: str | None) -> None:
        """Write a tree from what `cat-file --batch` printed of the objects of `missing`. Raises OSError; blocks."""
        due, self._to_write = self._to_write, None
        if due is None or (due.commit, due.before) != (index.commit, before):
            due = self._unwritten(index, before)
        with contextlib.closing(PrintedObjects(batch)) as objects:
            for tree, old in due.directories:
                self.shared.write(tree, objects, old)
            own = Index(commit=index.commit, files=index.own_files)
            self.write_from(index, objects.of(own), before)
        facts = self._index(index.commit).stat()
        self._shared_by[index.commit] = ((facts.st_ino, facts.st_mtime_ns), index.shared)

    def _unwritten(self, index: Index, before: str | None) -> _ToWrite:
        was: Mapping[str, str] = {}
        with contextlib.suppress(DamagedTree):
            was = self._shared_of(before) if before is not None else {}
        known, found = self.shared.known(), {}
        for path, tree in index.shared.items():
            if tree not in known or not self.shared.is_intact(tree):
                found[tree] = was.get(path)
        directories = tuple((Index(commit=tree, files=index.inside[tree]), old) for tree, old in found.items())
        return _ToWrite(commit=index.commit, before=before, directories=directories)

    def _is_complete(self, commit: str) -> bool:
        if not super()._is_complete(commit):
            return False
        with contextlib.suppress(DamagedTree):
            return self.shared.known().issuperset(self._shared_of(commit).values())
        return True  # which of its files cannot be read, its reader tells

    def _shared_of(self, commit: str) -> Mapping[str, str]:
        """Return the shared directories of a commit, by path. Raises DamagedTree; blocks."""
        try:
            facts = self._index(commit).stat()
        except OSError as error:
            raise DamagedTree(f"the index of commit {commit[:7]} cannot be read: {error}") from error
        stamp, found = self._shared_by.get(commit, ((0, 0), {}))
        if stamp != (facts.st_ino, facts.st_mtime_ns):
            found = self.index(commit).shared
            self._shared_by[commit] = ((facts.st_ino, facts.st_mtime_ns), found)
        return found

    def tidy(self, keep: int, kept: Collection[str | None]) -> None:
        """Remove what may be, and what no tree shares any more. Raises OSError; blocks."""
        super().tidy(keep, kept)
        left = self.whole()
        self._shared_by = {commit: known for commit, known in self._shared_by.items() if commit in left}
        with contextlib.suppress(DamagedTree):
            self.shared.keep({tree for commit in left for tree in self._shared_of(commit).values()})


def shared_directories(
    tree: Tree, named: Iterable[str], manifests_at: Iterable[str], directories: Mapping[str, str]
) -> dict[str, str]:
    """Return the tree ids of the directories of a commit that can be shared, by path: those without any link in them.

    Each is one of the `named`, and what lies in another one of these stays a part of it. Pure.
    """
    named, kept = frozenset(named), {"", *manifests_at}
    holding = {above for path in named.union(kept) if path in directories for above in directories_above(path)}
    kept |= holding.union(above for link in tree.links for above in directories_above(link))
    return {
        path: directories[path]
        for path in sorted(named - kept)
        if path in directories and not any(above in named for above in directories_above(path))
    }
