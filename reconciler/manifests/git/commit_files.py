"""Read the files of one commit after another: of each what differs from the one before, as the rest is known.

What comes out is what the listing of the commit as a whole would come to, which is read where anything is in doubt.
"""

import asyncio
import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from pathlib import Path
from tempfile import TemporaryDirectory

from reconciler.linux.dataclass import dataclass
from reconciler.manifests.directory_files import is_manifest
from reconciler.manifests.git.commit_changes import Change, Changes, changes_of
from reconciler.manifests.git.objects import Objects
from reconciler.manifests.git.tree_limits import Entry, Limits, Tree, TreeReader, UnfitTree
from reconciler.settings.git import GitOrigin

_SUBMODULE = b"160000"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitFiles:
    """The files of a commit: those that its origin uses, and the manifests among them, with their contents.

    `targets` are what its symbolic links contain, by path, `directories` the tree ids of all directories, and `named`
    what the manifests name. `reader` has read them.
    """

    commit: str
    tree: Tree
    manifests: Mapping[str, Entry]
    contents: Mapping[str, bytes] = field(repr=False)
    directories: Mapping[str, str] = field(repr=False)
    named: frozenset[str]
    reader: TreeReader = field(repr=False)
    targets: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The files of a commit by those of one before, of which its manifests name the same as those of that one.

    `listing` has the entries that differ, `touched` the paths of all that are others or no more.
    """

    reader: TreeReader
    tree: Tree
    manifests: Mapping[str, Entry]
    directories: Mapping[str, str]
    listing: bytes
    touched: frozenset[bytes]


def limits_of(origin: GitOrigin) -> Limits:
    """Return what a commit of an origin may hold."""
    repository = origin.repository
    return Limits(files=repository.most_files, file_size=repository.largest_file, total_size=repository.largest_store)


def is_manifest_of(origin: GitOrigin) -> Callable[[str], bool]:
    """Return what tells whether a path is that of a manifest of an origin."""
    paths = frozenset(origin.paths)

    def tell(path: str) -> bool:
        directory, name = posixpath.split(path)
        return directory in paths and is_manifest(name)

    return tell


class CommitChanges:
    """Reads how commits of one origin differ; `scratch` is a directory for what is asked."""

    def __init__(self, origin: GitOrigin, objects: Objects, scratch: Path) -> None:
        self._origin = origin
        self._objects = objects
        self._scratch = scratch

    async def since(self, before: CommitFiles, commit: str, top: str) -> Changed | None:
        """Return the files of a commit, whose top is a tree, by those of another; None if that is not certain.

        Files that no commit may have are not certain either. Raises DamagedStore, OSError.
        """
        if self._origin.repository.fsck:  # objects that git would have refused may list a file twice
            return None
        printed = await self._objects.changes(before.commit, commit)
        changes = None if printed is None else changes_of(printed)
        if changes is None:
            return None
        sizes = await self._sizes(changes.files)
        return await asyncio.to_thread(_changed, before, top, self._origin, changes, sizes)

    async def _sizes(self, changes: Iterable[Change]) -> dict[str, int]:
        ids = sorted({each.id for each in changes if each.mode != _SUBMODULE})
        if not ids:
            return {}
        with TemporaryDirectory(dir=self._scratch, prefix=".draft-") as directory:
            asked = Path(directory, "ids")
            await asyncio.to_thread(asked.write_text, "".join(f"{each}\n" for each in ids))
            return await self._objects.sizes(asked)


def _changed(
    before: CommitFiles, top: str, origin: GitOrigin, changes: Changes, sizes: Mapping[str, int]
) -> Changed | None:
    try:
        gone = [path.decode() for path in changes.gone]
        reader = before.reader.without(gone)
    except (UnicodeDecodeError, KeyError):
        return None  # what was known is not what git knows
    listing = b"".join(_record(each, sizes) for each in changes.files)
    try:
        reader.read(listing)
        tree = reader.end()
    except UnfitTree:
        return None  # which of all files is the first one that no commit may have, the whole listing tells
    tell = is_manifest_of(origin)
    manifests = {path: entry for path, entry in before.manifests.items() if path in tree.files}
    for path in (each.path.decode() for each in changes.files):  # each was found fit
        manifests.pop(path, None)
        if path in tree.files and tell(path):
            manifests[path] = tree.files[path]
    directories = dict(before.directories)
    for each in changes.directories_gone:
        directories.pop(each, None)
    return Changed(
        reader=reader,
        tree=tree,
        manifests=manifests,
        directories={**directories, **changes.directories, "": top},
        listing=listing,
        touched=frozenset((*changes.gone, *(each.path for each in changes.files))),
    )


def _record(change: Change, sizes: Mapping[str, int]) -> bytes:
    """Return a file as `ls-tree -l -z` lists it."""
    size = str(sizes[change.id]) if change.mode != _SUBMODULE else "-"
    return b"%b blob %b %b\t%b\0" % (change.mode, change.id.encode(), size.encode(), change.path)
