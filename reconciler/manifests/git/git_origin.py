"""An origin in git, as the manifests are read from it: the files of the commit that is in force, and nothing newer."""

import asyncio
import posixpath
from collections.abc import Callable, Mapping

from reconciler.documents.text import LARGEST_MANIFEST, too_large
from reconciler.linux.inotify import WatchProblem
from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.directory_files import is_manifest
from reconciler.manifests.git.fleet_file import FILE, is_fleet
from reconciler.manifests.git.tree_index import Index
from reconciler.manifests.git.tree_limits import Entry
from reconciler.manifests.git.trees import DamagedTree, Trees
from reconciler.manifests.origin import Listing, Look, Unreadable
from reconciler.manifests.parse_file import parse
from reconciler.settings.git import GitOrigin as Settings
from reconciler.state.paths import StatePaths


class GitOrigin:
    """One origin in git. It watches nothing: who puts a commit in force says so, by setting `changed`."""

    problem: WatchProblem | None = None
    is_unsettled = False

    def __init__(self, settings: Settings, paths: StatePaths, index: Callable[[str], Index] | None = None) -> None:
        """`index` returns the index of a commit, as `Trees` does."""
        self.name = settings.name
        self._settings = settings
        self._trees = Trees(paths.origin(settings.name))
        self._index = index or self._trees.index
        self._last: Listing | None = None
        self._contents: dict[str, tuple[Entry, bytes]] = {}

    async def look(self) -> Look:
        """Return the manifests of the commit in force."""
        return await asyncio.to_thread(self.read)

    async def may_have_changed_unseen(self) -> bool:
        """Return False: each commit that is put in force makes a look due."""
        return False

    def read(self) -> Look:
        """Return the manifests of the commit in force. Blocks; cheap while the commit is the same."""
        commit = self._trees.in_force()
        if commit is None:
            reason = f"no commit of {self.name} is in force yet: 'reconciler git' says why"
            return Unreadable(origin=self.name, reason=reason, until="one is")
        if self._last is None or self._last.identity != commit:
            try:
                self._last = self._read(commit)
            except DamagedTree as error:
                self._trees.forget(commit)
                return Unreadable(origin=self.name, reason=str(error), until="its files are written again")
        return self._last

    def close(self) -> None:
        """Do nothing: nothing is watched."""

    def _read(self, commit: str) -> Listing:
        index = self._index(commit)
        paths = [path for path in sorted(index.files) if self._has(path)]
        found = {path: self._content(index, path) for path in paths}
        self._contents = {path: self._contents[path] for path in paths if path in self._contents}
        if isinstance(fleet := found.get(FILE), bytes) and is_fleet(fleet):
            del found[FILE]
        return Listing(
            origin=self.name,
            files={f"{self.name}/{path}": content for path, content in found.items()},
            identity=commit,
            versions=versions_of(index, str(self._trees.current)),
        )

    def _has(self, path: str) -> bool:
        directory, name = posixpath.split(path)
        return directory in self._settings.paths and is_manifest(name)

    def _content(self, index: Index, path: str) -> bytes | str:
        entry = index.files[path]
        if entry.kind == "link":
            return "is a symbolic link, not a file; put the manifest itself in its place"
        if entry.size > LARGEST_MANIFEST:
            return too_large(entry.size)
        read = self._contents.get(path)
        content = read[1] if read is not None and read[0] == entry else self._trees.read(index, path)
        self._contents[path] = (entry, content)
        if path in index.invalid and not parse(path, content, HostDefaults()).problems:
            return (
                "has problems for the version of reconciler that judged this commit, and none for this one: it takes"
                " effect with the next commit, which is judged"
            )
        return content


def versions_of(index: Index, top: str) -> Mapping[str, str]:
    """Return the version of each file and directory of a tree at `top` by its absolute path.

    A directory with a link that may lead out of it has none: its id does not change with what is there.
    """
    leaving = {above for path, entry in index.files.items() if entry.kind == "link" for above in _above(path)}
    known = {path: entry.id for path, entry in index.files.items() if entry.kind != "link"}
    known |= {path: tree for path, tree in index.directories.items() if path not in leaving}
    top = posixpath.normpath(top)
    return {f"{top}/{path}" if path else top: version for path, version in known.items()}  # of git, so normal already


def _above(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["", *("/".join(parts[: length + 1]) for length in range(len(parts)))]
