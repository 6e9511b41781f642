"""Write the files of a commit to the disk: from the objects themselves, with their modes and nothing else applied.

A tree is drafted, synced and renamed, so it is complete or absent; files that the tree before has too are linked, if
they still hold the object. No attribute, filter, hook or line ending has a say in it.
"""

import contextlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from io import BufferedReader
from pathlib import Path
from typing import Any

from reconciler.linux.files import draft, leftovers, publish, remove, replace_file, set_aside
from reconciler.linux.regular_files import read_own, read_record
from reconciler.linux.sync import sync_directories, sync_directory
from reconciler.manifests.git.tree_limits import Entry, directories_above
from reconciler.manifests.git.written_files import FILE_MODE, PROGRAM_MODE, Stamp, is_object, is_same, stamp_of

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_MOST_OF_AN_INDEX = 64 * 1024 * 1024
_MOST_OF_BASES = 4096
_CURRENT = "current"
_BLOCK = 65536
_UP = "../"


class DamagedTree(Exception):
    """Files of a commit that are not on the disk as they were written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """The files of a commit by path, each with its object, and the tree id of each directory; "" is the top.

    `invalid` are the manifests that defined nothing when the commit was judged. `shared` are the tree ids of the
    directories, by path, that are on the disk once for all commits that have them: of their files, those that manifests
    name and the manifests are among `files`, and all are `inside`, by tree id, until they are written.
    """

    commit: str
    files: Mapping[str, Entry] = field(default_factory=dict)
    directories: Mapping[str, str] = field(default_factory=dict)
    invalid: frozenset[str] = frozenset()
    shared: Mapping[str, str] = field(default_factory=dict)
    inside: Mapping[str, Mapping[str, Entry]] = field(default_factory=dict, repr=False)
    _own: dict[str, Entry] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def own_files(self) -> Mapping[str, Entry]:
        """The files that are in no shared directory."""
        if not self.shared:
            return self.files
        if not self._own:
            self._own.update(divided(self.files, self.shared)[0])
        return self._own


class Trees:
    """The trees of one origin in its directory: `trees/COMMIT`, each with an index beside it, and `current`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.current = directory / _CURRENT  # as the paths of the state directory have it
        self._trees = directory / "trees"
        self._base_of_trial = directory / "base-of-trial"
        self._same: tuple[str, str | None, Mapping[tuple[str, str], str]] = ("", None, {})
        self._known: tuple[Stamp | None, Index] = (None, Index(commit=""))  # the index that was written last
        self._stamps: tuple[str, Mapping[str, Stamp]] = ("", {})  # of the files of the commit that was written last

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
        with contextlib.suppress(OSError):
            if self._known[0] == stamp_of(os.lstat(self._index(commit))):
                return self._known[1]
        try:
            found: dict[str, Any] = read_record(self._index(commit), _MOST_OF_AN_INDEX)
            files = {path: Entry(kind=kind, id=id_, size=size) for path, (kind, id_, size) in found["files"].items()}
            invalid = frozenset(found.get("invalid", ()))
            shared = dict(found.get("shared", {}))
            return Index(commit=commit, files=files, directories=found["directories"], invalid=invalid, shared=shared)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DamagedTree(f"the index of commit {commit[:7]} cannot be read: {error}") from error

    def read(self, index: Index, path: str) -> bytes:
        """Return the content of a file of a tree. Raises DamagedTree; blocks."""
        try:
            content = read_own(self._trees / index.commit / path, index.files[path].size + 1)
        except OSError as error:
            raise DamagedTree(f"{path} of commit {index.commit[:7]} cannot be read: {error.strerror}") from error
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

    def write_from(
        self, index: Index, contents: Iterator[tuple[str, bytes]], before: str | None, shared: str = ""
    ) -> None:
        """Write a tree from the objects of `missing`, each with its id. Raises OSError; blocks.

        Its shared directories are at `shared`, a path from the directory of this object.
        """
        self._trees.mkdir(mode=0o700, parents=True, exist_ok=True)
        linked = self._same_as_before(index, before)
        fresh = draft(self._trees, index.commit)
        try:
            fresh.mkdir(mode=0o755)
            made = {"": str(fresh)}
            for path, tree in index.shared.items():
                _link_to(f"{_UP * (path.count('/') + 2)}{shared}/{tree}", path, made, f"{self._trees}/{before}")
            own = index.own_files
            _write_files(own, made, linked, contents)
            sync_directories([*made.values()])
            replace_file(self._index(index.commit), _as_json(index))
            remove(self._trees / index.commit)
            publish(fresh, self._trees / index.commit)
            top = self._trees / index.commit
            self._known = (stamp_of(os.lstat(self._index(index.commit))), replace(index, inside={}))
            self._stamps = (index.commit, {path: stamp_of(os.lstat(f"{top}/{path}")) for path in own})
        except BaseException:
            with contextlib.suppress(OSError):
                remove(fresh)
            raise

    def _same_as_before(self, index: Index, before: str | None) -> Mapping[tuple[str, str], str]:
        """Return the files of the tree before that still hold what a tree has, by kind and object."""
        if self._same[:2] == (index.commit, before):
            found = self._same[2]  # they were read to find out what is missing
            self._same = ("", None, {})
            return found
        if before is None or not self._is_complete(before):
            return {}
        top, wanted = str(self._trees / before), {(each.kind, each.id): each for each in index.own_files.values()}
        stamps = self._stamps[1] if self._stamps[0] == before else {}
        same: dict[tuple[str, str], str] = {}
        with contextlib.suppress(DamagedTree):
            for path, entry in self.index(before).files.items() if wanted else ():
                key = (entry.kind, entry.id)
                if key in wanted and key not in same and is_same(f"{top}/{path}", entry, stamps.get(path)):
                    same[key] = f"{top}/{path}"
        return same

    def missing(self, index: Index, before: str | None) -> list[str]:
        """Return the objects of a tree, each once, that no other tree on the disk has. Blocks."""
        self._same = ("", None, {})
        same = self._same_as_before(index, before)
        self._same = (index.commit, before, same)
        return list(dict.fromkeys(each.id for each in index.own_files.values() if (each.kind, each.id) not in same))

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

        Blocks.
        """
        found = []
        for directory in (self.directory, self._trees):
            with contextlib.suppress(OSError):
                found += list(leftovers(directory))
        in_force = self.in_force()
        with contextlib.suppress(OSError):
            commits = sorted(
                self.complete() - {in_force, *kept}, key=lambda name: -self._index(name).stat().st_mtime_ns
            )
            old = commits[max(0, keep - 1) :]
            found += [path for commit in old for path in (self._trees / commit, self._index(commit))]
        return found

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


def divided(
    files: Mapping[str, Entry], shared: Mapping[str, str]
) -> tuple[dict[str, Entry], dict[str, dict[str, Entry]]]:
    """Return the files that are in no shared directory, and those of each of these by its tree id. Pure."""
    own: dict[str, Entry] = {}
    inside: dict[str, dict[str, Entry]] = {tree: {} for tree in shared.values()}
    for path, entry in files.items():
        place = next((above for above in directories_above(path) if above in shared), None)
        if place is None:
            own[path] = entry
        else:
            inside[shared[place]][path[len(place) + 1 :]] = entry
    return own, inside


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


def _write_files(
    files: Mapping[str, Entry],
    made: dict[str, str],
    linked: Mapping[tuple[str, str], str],
    contents: Iterator[tuple[str, bytes]],
) -> None:
    """Write files below the directories that were `made`, the top among them as ""."""
    by_object: dict[str, list[tuple[str, Entry]]] = {}
    top = made[""]
    for path, entry in files.items():
        directory = path.rpartition("/")[0]
        if directory not in made:
            _make(directory, made)
        other = linked.get((entry.kind, entry.id))
        if other is not None:
            _link_or_copy(other, f"{top}/{path}", entry)
            continue
        by_object.setdefault(entry.id, []).append((path, entry))
    for object_id, content in contents:
        for path, entry in by_object.pop(object_id, ()):
            _write_file(f"{top}/{path}", entry, content)
    if by_object:
        raise OSError(f"git did not print {len(by_object)} of the objects")


def _link_to(target: str, path: str, made: dict[str, str], before: str) -> None:
    """Put a link below the directories that were `made`: quickly if that of the tree before is the same."""
    directory = path.rpartition("/")[0]
    if directory not in made:
        _make(directory, made)
    link = f"{made['']}/{path}"
    with contextlib.suppress(OSError):
        os.link(f"{before}/{path}", link, follow_symlinks=False)
        if os.readlink(link) == target:  # noqa: PTH115  the text of it
            return
        os.unlink(link)  # noqa: PTH108  of another
    os.symlink(target, link)  # noqa: PTH211  one of hundreds


def _make(directory: str, made: dict[str, str]) -> None:
    """Make a directory below those that were `made`, with what is above it."""
    above, _, name = directory.rpartition("/")
    if above not in made:
        _make(above, made)
    made[directory] = f"{made[above]}/{name}"
    os.mkdir(made[directory], 0o755)  # noqa: PTH102  one of thousands


def _link_or_copy(other: str, path: str, entry: Entry) -> None:
    try:
        os.link(other, path)
    except OSError:  # the file system allows only so many
        _write_file(path, entry, read_own(other, entry.size + 1))


def _write_file(path: str, entry: Entry, content: bytes) -> None:
    if entry.kind == "link":
        os.symlink(content, os.fsencode(path))  # noqa: PTH211  the bytes of the object, as they are
        return
    mode = PROGRAM_MODE if entry.kind == "program" else FILE_MODE
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        os.fchmod(descriptor, mode)
        file.flush()
        os.fsync(descriptor)


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
