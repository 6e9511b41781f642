"""Write the files of a commit to the disk: from the objects themselves, with their modes and nothing else applied.

A tree is drafted, synced and renamed, so it is complete or absent; files that the tree before has too are linked, if
they still hold the object. No attribute, filter, hook or line ending has a say in it.
"""

import contextlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from io import BufferedReader
from pathlib import Path
from typing import Any

from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import in_words
from reconciler.linux.files import draft, leftovers, publish, remove, replace_file, set_aside
from reconciler.linux.regular_files import read_own, read_record
from reconciler.linux.sync import sync_directories, sync_directory
from reconciler.manifests.git.reused_trees import Reused, Stamped, reused
from reconciler.manifests.git.tree_files import link_to, write_files
from reconciler.manifests.git.tree_index import Index
from reconciler.manifests.git.tree_limits import Entry, directories_above
from reconciler.manifests.git.written_files import Stamp, is_object, is_same, stamp_of

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_MOST_OF_AN_INDEX = 64 * 1024 * 1024
_MOST_OF_BASES = 4096
_CURRENT = "current"
_MOST_INDEXES, _MOST_KNOWN = 4, 8000
_BLOCK = 65536
_UP = "../"


class DamagedTree(Exception):
    """Files of a commit that are not on the disk as they were written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """A tree to write: what of another it keeps, the other files, and where on the disk some of these are."""

    index: Index
    before: str | None
    reused: Reused | None
    files: Mapping[str, Entry]
    same: Mapping[tuple[str, str], str]


class Trees:
    """The trees of one origin in its directory: `trees/COMMIT`, each with an index beside it, and `current`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.current = directory / _CURRENT  # as the paths of the state directory have it
        self._trees = directory / "trees"
        self._base_of_trial = directory / "base-of-trial"
        self._shared_at = ""  # the place of shared directories, from `directory`
        self._planned: _Planned | None = None
        self._known: dict[str, tuple[Stamp, Index]] = {}  # the indexes that were written last
        self._last = Stamped()

    def in_force(self) -> str | None:
        """Return the commit that `current` leads to, None if there is none. Blocks."""
        try:
            commit = os.readlink(self.current).rpartition("/")[2]  # noqa: PTH115  the text of it
        except OSError:
            return None
        return commit if _COMMIT.fullmatch(commit) and self._is_complete(commit) else None

    def complete(self) -> frozenset[str]:
        """Return the commits whose trees are complete. Blocks."""
        return frozenset(name for name in self.whole() if self._is_complete(name))

    def whole(self) -> frozenset[str]:
        """Return the names of what is there with its index, whatever may be missing of it elsewhere. Blocks."""
        try:
            with os.scandir(self._trees) as found:
                names = {entry.name: entry.is_dir(follow_symlinks=False) for entry in found}
        except OSError:
            return frozenset()
        return frozenset(
            name for name, is_tree in names.items() if is_tree and f"{name}.json" in names and _COMMIT.fullmatch(name)
        )

    def _is_complete(self, commit: str) -> bool:
        return (self._trees / commit).is_dir() and self._index(commit).is_file()

    def _index(self, commit: str) -> Path:
        return self._trees / f"{commit}.json"

    def index(self, commit: str) -> Index:
        """Return the index of a tree. Raises DamagedTree; blocks."""
        known = self._known.get(commit)
        with contextlib.suppress(OSError):
            if known is not None and known[0] == stamp_of(os.lstat(self._index(commit))):
                return known[1]
        try:
            found: dict[str, Any] = read_record(self._index(commit), _MOST_OF_AN_INDEX)
            files = {path: Entry(kind=kind, id=id_, size=size) for path, (kind, id_, size) in found["files"].items()}
            invalid = frozenset(found.get("invalid", ()))
            shared = dict(found.get("shared", {}))
            return Index(commit=commit, files=files, directories=found["directories"], invalid=invalid, shared=shared)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DamagedTree(f"the index of commit {commit[:7]} cannot be read: {error}") from error

    def _note(self, stamp: Stamp, index: Index) -> None:
        """Keep the index of a tree that was written; of several, as long as they are small together."""
        kept = [*((c, known) for c, known in self._known.items() if c != index.commit), (index.commit, (stamp, index))]
        while len(kept) > 1 and (len(kept) > _MOST_INDEXES or sum(len(e[1].files) for _, e in kept) > _MOST_KNOWN):
            del kept[0]
        self._known = dict(kept)

    def read(self, index: Index, path: str) -> bytes:
        """Return the content of a file of a tree. Raises DamagedTree; blocks."""
        try:
            content = read_own(self._trees / index.commit / path, index.files[path].size + 1)
        except OSError as error:
            raise DamagedTree(f"{path} of commit {index.commit[:7]} cannot be read: {in_words(error)}") from error
        if not is_object(content, index.files[path].id):
            raise DamagedTree(f"{path} of commit {index.commit[:7]} was changed on the disk")
        return content

    def forget(self, commit: str) -> None:
        """Take a tree for incomplete, so that it is written again. Blocks."""
        with contextlib.suppress(OSError):
            self._index(commit).unlink(missing_ok=True)

    def write(self, index: Index, batch: Path, before: str | None) -> None:
        """Write a tree from what `cat-file --batch` printed of the objects of `missing`. Raises OSError; blocks."""
        with batch.open("rb") as objects:
            self.write_from(index, _contents(objects), before)

    def write_from(self, index: Index, contents: Iterator[tuple[str, bytes]], before: str | None) -> None:
        """Write a tree from the objects of `missing`, each with its id. Raises OSError; blocks."""
        self._trees.mkdir(mode=0o700, parents=True, exist_ok=True)
        planned, self._planned = self._planned, None
        if planned is None or (planned.index.commit, planned.before) != (index.commit, before):
            planned = self._plan(index, before, None)
        fresh = draft(self._trees, index.commit)
        try:
            made, changed = self._begun(planned.reused, str(fresh), index)
            kept = frozenset(made) if planned.reused is None else planned.reused.kept | made.keys()
            for path, tree in index.shared.items():
                if path not in kept:
                    link_to(self._target(path, tree), path, made, f"{self._trees}/{before}")
            write_files(planned.files, made, planned.same, contents)
            placed = {*index.own_files, *index.shared, *made} - kept
            changed |= {path.rpartition("/")[0] for path in placed} | (made.keys() - kept)
            sync_directories([made[each] for each in changed] if planned.reused is not None else [*made.values()])
            replace_file(self._index(index.commit), _as_json(index))
            remove(self._trees / index.commit)
            publish(fresh, self._trees / index.commit)
            top, own = self._trees / index.commit, index.own_files
            self._note(stamp_of(os.lstat(self._index(index.commit))), replace(index, inside={}))
            # What was linked from another tree has changed there, too.
            seen = planned.reused.stamps if planned.reused is not None and not planned.same else {}
            stamps = {path: seen.get(path) or stamp_of(os.lstat(f"{top}/{path}")) for path in own}
            self._last = Stamped(files=own, stamps=stamps)
        except BaseException:
            with contextlib.suppress(OSError):
                remove(fresh)
            raise

    def _begun(self, planned: Reused | None, fresh: str, index: Index) -> tuple[dict[str, str], set[str]]:
        """Make the draft of a tree, by that of another commit where one is reused: that is none any more then.

        Returns the directories in it, by path, and the paths of those that were changed.
        """
        if planned is None:
            os.mkdir(fresh, 0o755)  # noqa: PTH102  as all below it
            return {"": fresh}, {""}
        os.rename(self._trees / planned.index.commit, fresh)  # noqa: PTH104  a leftover from here on
        self._index(planned.index.commit).unlink(missing_ok=True)
        return planned.strip(fresh, index)

    def _target(self, path: str, tree: str) -> str:
        return f"{_UP * (path.count('/') + 2)}{self._shared_at}/{tree}"

    def _plan(self, index: Index, before: str | None, spare: str | None) -> "_Planned":
        """Find out what of a tree is on the disk already: in that of a commit to `spare`, or of the one before."""
        found = None
        if spare is not None:
            with contextlib.suppress(DamagedTree):
                found = reused(f"{self._trees}/{spare}", self.index(spare), index, self._target, self._last)
        kept = frozenset() if found is None else found.kept
        files = {path: entry for path, entry in index.own_files.items() if path not in kept}
        same = self._same_as_before(files, before)
        return _Planned(index=index, before=before, reused=found, files=files, same=same)

    def _same_as_before(self, files: Mapping[str, Entry], before: str | None) -> Mapping[tuple[str, str], str]:
        """Return the files of the tree before that still hold what others have, by kind and object."""
        if before is None or not files or not self._is_complete(before):
            return {}
        top, wanted = str(self._trees / before), {(each.kind, each.id) for each in files.values()}
        same: dict[tuple[str, str], str] = {}
        with contextlib.suppress(DamagedTree):
            for path, entry in self.index(before).own_files.items():
                key = (entry.kind, entry.id)
                if key in wanted and key not in same and is_same(f"{top}/{path}", entry, self._last.of(path, entry)):
                    same[key] = f"{top}/{path}"
        return same

    def missing(self, index: Index, before: str | None, spare: str | None = None) -> list[str]:
        """Return the objects of a tree, each once, that no other tree on the disk has. Blocks.

        The tree of a commit to `spare` may become the new one.
        """
        self._planned = planned = self._plan(index, before, spare)
        ids = (each.id for each in planned.files.values() if (each.kind, each.id) not in planned.same)
        return list(dict.fromkeys(ids))

    def spare(self, commit: str, keep: int, kept: Collection[str | None]) -> str | None:
        """Return the oldest commit whose tree may go once that of another one is there, None without one. Blocks.

        With that, so many of the newest stay, and in any case those `kept`, and the one in force.
        """
        stay = {self.in_force(), *kept}
        others = self._newest_first(self.complete() - {commit})[max(0, keep - 1) :]
        return next((each for each in reversed(others) if each not in stay), None)

    def take_effect(self, commit: str, on: str | None = None) -> None:
        """Let `current` lead to a complete tree. Raises OSError; blocks.

        `on` is the accepted commit that a commit is tried on top of. It is written down first, as nothing else could
        tell which of the two was accepted once all other records are lost.
        """
        if on is not None:
            before, in_force = self.base_of_trial(), self.in_force()
            bases = {in_force: before, commit: on} if before is not None else {commit: on}
            replace_file(self._base_of_trial, json.dumps(bases))
        self._lead_to(commit)
        if on is None:
            self.end_trial()

    def end_trial(self) -> None:
        """Note that the commit in force is no trial, or no longer one. Raises OSError; blocks."""
        self._base_of_trial.unlink(missing_ok=True)

    def base_of_trial(self) -> str | None:
        """Return the accepted commit that the one in force is tried on top of, None if it is no trial. Blocks."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            commit = str(read_record(self._base_of_trial, _MOST_OF_BASES).get(self.in_force()))
            return commit if _COMMIT.fullmatch(commit) else None
        return None

    def _lead_to(self, commit: str) -> None:
        lead(self.current, f"trees/{commit}")

    def untidy(self, keep: int, kept: Collection[str | None]) -> list[Path]:
        """Return what may be removed: drafts, and all trees but the newest, the one in force and those `kept`.

        An index without its tree may go, too.

        Blocks.
        """
        found = []
        for directory in (self.directory, self._trees):
            with contextlib.suppress(OSError):
                found += list(leftovers(directory))
        with contextlib.suppress(OSError):  # of a tree that was renamed, by a daemon that was killed right then
            names = {path.name for path in self._trees.iterdir()}
            lost = (name for name in names if name.endswith(".json") and name.removesuffix(".json") not in names)
            found += [self._trees / name for name in lost]
        in_force = self.in_force()
        old = self._newest_first(self.complete() - {in_force, *kept})[max(0, keep - 1) :]
        return found + [path for commit in old for path in (self._trees / commit, self._index(commit))]

    def _newest_first(self, commits: Collection[str]) -> list[str]:
        """Return commits by the age of their trees, none while that cannot be told."""
        with contextlib.suppress(OSError):
            return sorted(commits, key=lambda name: -self._index(name).stat().st_mtime_ns)
        return []

    def tidy(self, keep: int, kept: Collection[str | None]) -> None:
        """Remove that. Raises OSError; blocks."""
        for path in self.untidy(keep, kept):
            if path.is_dir() and not path.is_symlink():
                self._remove(path)
            else:
                path.unlink(missing_ok=True)

    def _remove(self, tree: Path) -> None:
        """Remove a tree: first what its index says is in it, which is quicker than to look."""
        gone = set_aside(tree)
        if gone is None:
            return
        with contextlib.suppress(DamagedTree, OSError):
            index = self.index(tree.name)
            paths = [*index.shared, *index.own_files]  # of a shared directory, the link to it
            for path in paths:
                os.unlink(f"{gone}/{path}")  # noqa: PTH108  one of thousands
            above = {directory for path in paths for directory in directories_above(path)}
            for directory in sorted(above - {""}, key=len, reverse=True):
                os.rmdir(f"{gone}/{directory}")  # noqa: PTH106  the same
        remove(gone)


def lead(link: Path, target: str) -> None:
    """Let a link lead elsewhere, at once and for good. Raises OSError; blocks."""
    fresh = draft(link.parent, link.name)
    fresh.symlink_to(target)
    os.replace(fresh, link)  # noqa: PTH105  of the link itself
    sync_directory(link.parent)


def _as_json(index: Index) -> str:
    files = {path: (entry.kind, entry.id, entry.size) for path, entry in index.files.items()}
    facts = {"files": files, "directories": dict(index.directories), "invalid": sorted(index.invalid)}
    return json.dumps({**facts, "shared": dict(index.shared)} if index.shared else facts)


def _contents(batch: BufferedReader, kind: str = "blob") -> Iterator[tuple[str, bytes]]:
    """Yield the objects that `cat-file --batch` printed. Raises OSError for one that it could not find."""
    while head := batch.readline(_BLOCK):
        fields = head.decode("ascii", errors="replace").split()
        if len(fields) != 3 or fields[1] != kind:
            raise OSError(f"git does not know the object {' '.join(fields)[:80]}")
        content = batch.read(int(fields[2]))
        if len(content) != int(fields[2]) or batch.read(1) != b"\n":
            raise OSError("what git printed of an object is incomplete")
        yield fields[0], content


def contents_of(batch: Path, kind: str = "blob") -> dict[str, bytes]:
    """Return the objects that `cat-file --batch` printed into a file, by id. Raises OSError; blocks."""
    with batch.open("rb") as objects:
        return dict(_contents(objects, kind))
