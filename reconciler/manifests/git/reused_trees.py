"""Change the tree of a commit that is needed no more into that of another, of which it has most.

Only what differs is touched. A tree that is not exactly as its index says is not reused.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field

from reconciler.linux.dataclass import dataclass
from reconciler.manifests.git.tree_index import Index
from reconciler.manifests.git.tree_limits import Entry, directories_above
from reconciler.manifests.git.written_files import Stamp, seen_as


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped:
    """The files of the tree that was written last, by path, and what the file system said of each then."""

    files: Mapping[str, Entry] = field(default_factory=dict)
    stamps: Mapping[str, Stamp] = field(default_factory=dict, repr=False)

    def of(self, path: str, entry: Entry) -> Stamp | None:
        """Return the stamp of a file that the tree has at a path, too: the same one may be linked elsewhere."""
        return self.stamps.get(path) if self.files.get(path) == entry else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reused:
    """The tree of the commit of `index`, which is to become another's; `kept` are the files and links that stay.

    `stamps` are those of the files of these.
    """

    index: Index
    kept: frozenset[str]
    stamps: Mapping[str, Stamp] = field(default_factory=dict, repr=False)

    def strip(self, top: str, new: Index) -> tuple[dict[str, str], set[str]]:
        """Remove what the other commit does not have from the tree, which is at `top` by now. Raises OSError; blocks.

        Returns the directories that the other one has too, by path, and the paths of those that were changed.
        """
        gone = {*_placed(self.index)} - self.kept
        for path in gone:
            os.unlink(f"{top}/{path}")  # noqa: PTH108  one of thousands
        before, wanted = _directories(_placed(self.index)), _directories(_placed(new))
        for directory in sorted(before - wanted, key=len, reverse=True):
            os.rmdir(f"{top}/{directory}")  # noqa: PTH106  the same
        changed = {path.rpartition("/")[0] for path in (*gone, *(before - wanted))}
        made = {directory: f"{top}/{directory}" for directory in before & wanted if directory}
        return {"": top, **made}, changed & wanted


def reused(top: str, old: Index, new: Index, target: Callable[[str, str], str], last: Stamped) -> Reused | None:
    """Return what of a tree at `top` stays in that of another commit; None if it is not as its index says. Blocks.

    `target` returns where the link at a path leads to a shared directory by its tree id.
    """
    try:
        for directory, names in _children(_placed(old)).items():
            with os.scandir(f"{top}/{directory}" if directory else top) as found:
                if {each.name: each.is_dir(follow_symlinks=False) for each in found} != names:
                    return None
        before = old.own_files
        stamps = {
            path: stamp
            for path, entry in new.own_files.items()
            if before.get(path) == entry
            and (stamp := seen_as(f"{top}/{path}", entry, last.of(path, entry))) is not None
        }
        links = frozenset(
            path
            for path, tree in new.shared.items()
            if old.shared.get(path) == tree and os.readlink(f"{top}/{path}") == target(path, tree)  # noqa: PTH115  its text
        )
    except OSError:
        return None
    return Reused(index=old, kept=links.union(stamps), stamps=stamps)


def _placed(index: Index) -> Iterable[str]:
    """Yield the paths of all files of a tree, and of its links to shared directories."""
    return (*index.own_files, *index.shared)


def _directories(paths: Iterable[str]) -> set[str]:
    """Return the directories that paths lie in, the top as ""."""
    found = {path.rpartition("/")[0] for path in paths}
    return {"", *found, *(above for each in found for above in directories_above(each))}


def _children(paths: Iterable[str]) -> dict[str, dict[str, bool]]:
    """Return the names in each directory, and whether each is a directory."""
    found: dict[str, dict[str, bool]] = {"": {}}
    for path in paths:
        directory, _, name = path.rpartition("/")
        found.setdefault(directory, {})[name] = False
    for directory in _directories(paths) - {""}:
        above, _, name = directory.rpartition("/")
        found.setdefault(above, {})[name] = True
        found.setdefault(directory, {})
    return found
