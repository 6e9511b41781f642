"""Keep the directories that apps take from a repository: each by its tree id, and which of them a commit has.

A directory is complete or absent, and never changes: commits that have the same one share it, whatever led to them.
"""

import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.linux.files import leftovers, remove, replace_file
from reconciler.linux.regular_files import read_record
from reconciler.manifests.git.tree_limits import Entry
from reconciler.manifests.git.trees import Index, Trees, lead
from reconciler.manifests.sources_in_git import SourceInForce
from reconciler.state.paths import StatePaths

_COMMIT = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})\.json")
_MOST = 4 * 1024 * 1024
_BLOCK = 65536
# A directory that changed this recently may change again at the same time, as the clocks of file systems tell it.
_SETTLED_NS = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceIndex(Index):
    """The directories of a commit that apps take, by path, and why others cannot be used; files are by `TREE/PATH`."""

    subject: str = ""
    problems: Mapping[str, str] = field(default_factory=dict)


class Directories:
    """The directories of one repository by their tree ids, in `directory`, whatever of it is followed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._trees = Trees(directory)
        self.top = directory / "trees"
        self._writing = threading.Lock()  # what is followed is followed in threads
        self._seen: tuple[int, frozenset[str]] = (0, frozenset())

    def known(self) -> frozenset[str]:
        """Return the tree ids of all that are complete. Blocks; cheap while nothing is written or removed."""
        try:
            changed_at = self.top.stat().st_mtime_ns
        except OSError:
            return frozenset()
        if self._seen[0] == changed_at:
            return self._seen[1]
        is_settled = time.time_ns() - changed_at > _SETTLED_NS
        found = self._trees.complete()
        self._seen = (changed_at if is_settled else 0, found)
        return found

    def missing(self, tree: Index, before: str | None) -> list[str]:
        """Return the objects of a directory that another one does not have. Blocks."""
        return self._trees.missing(tree, before)

    def write(self, tree: Index, objects: "_Objects", before: str | None) -> None:
        """Write a directory, unless it is there. Raises OSError; blocks."""
        with self._writing:
            known = self.known()
            if tree.commit not in known:
                self._trees.write_from(tree, objects.of(tree), before)
                self._seen = (self.top.stat().st_mtime_ns, known | {tree.commit})  # nothing else writes here

    def keep(self, used: Collection[str]) -> None:
        """Remove every directory but these, and what was interrupted. Raises OSError; blocks."""
        with self._writing:
            for name in self.known() - frozenset(used):
                self._trees.forget(name)
                remove(self.top / name)
            for directory in (self._directory, self.top):
                with contextlib.suppress(FileNotFoundError):
                    for path in list(leftovers(directory)):
                        remove(path)


class SourceTrees:
    """The commits of one thing that is followed, in `directory`, with their directories at `paths` in `shared`."""

    def __init__(self, directory: Path, shared: Directories) -> None:
        self.directory = directory
        self.shared = shared
        self.paths: tuple[str, ...] = ()
        self.current = directory / "current"
        self._commits = directory / "commits"
        self._read: dict[str, tuple[tuple[int, int], SourceIndex]] = {}

    def in_force(self) -> str | None:
        """Return the commit that `current` leads to, None if there is none. Blocks."""
        try:
            name = os.readlink(self.current).rpartition("/")[2]  # noqa: PTH115  the text of it
        except OSError:
            return None
        found = _COMMIT.fullmatch(name)
        return found[1] if found is not None and (self._commits / name).is_file() else None

    def complete(self) -> frozenset[str]:
        """Return the commits of which every directory at `paths` is there, or known to be unfit. Blocks."""
        known = self.shared.known()
        return frozenset(commit for commit in self._recorded() if self._is_complete(commit, known))

    def _is_complete(self, commit: str, known: frozenset[str]) -> bool:
        index = self.index(commit)
        has = {path for path, tree in index.directories.items() if tree in known} | index.problems.keys()
        return has.issuperset(self.paths)

    def _recorded(self) -> Iterator[str]:
        with contextlib.suppress(OSError):
            for path in list(self._commits.iterdir()):
                if found := _COMMIT.fullmatch(path.name):
                    yield found[1]

    def index(self, commit: str) -> SourceIndex:
        """Return the directories of a commit, none if they were never written down. Blocks."""
        file = self._commits / f"{commit}.json"
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            facts = file.stat()
            stamp, index = self._read.get(commit, ((0, 0), SourceIndex(commit=commit)))
            if stamp != (facts.st_ino, facts.st_mtime_ns):
                found: dict[str, Any] = read_record(file, _MOST)
                index = SourceIndex(
                    commit=commit,
                    subject=found["subject"],
                    directories=found["directories"],
                    problems=found["problems"],
                )
                self._read[commit] = ((facts.st_ino, facts.st_mtime_ns), index)
            return index
        self._read.pop(commit, None)
        return SourceIndex(commit=commit)

    def resolved(self) -> SourceInForce:
        """Return what is in force. Blocks."""
        commit = self.in_force()
        if commit is None:
            return SourceInForce()
        index, known = self.index(commit), self.shared.known()
        return SourceInForce(
            commit=commit,
            subject=index.subject,
            top=str(self.shared.top),
            trees={path: tree for path, tree in index.directories.items() if tree in known},
            problems=index.problems,
        )

    def missing(self, index: Index, before: str | None) -> list[str]:
        """Return the objects of a commit, each once, that have to be read to write its directories. Blocks."""
        return list(
            dict.fromkeys(each for tree, old in self._changed(index, before) for each in self.shared.missing(tree, old))
        )

    def write(self, index: Index, batch: Path, before: str | None) -> None:
        """Write the directories of a commit from what `cat-file --batch` printed. Raises OSError; blocks."""
        assert isinstance(index, SourceIndex)
        with contextlib.closing(_Objects(batch)) as objects:
            for tree, old in self._changed(index, before):
                self.shared.write(tree, objects, old)
        self._commits.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = {
            "subject": index.subject,
            "directories": dict(index.directories),
            "problems": dict(index.problems),
        }
        replace_file(self._commits / f"{index.commit}.json", json.dumps(facts))

    def _changed(self, index: Index, before: str | None) -> Iterator[tuple[Index, str | None]]:
        """Yield each directory that is to be written, with the one that was at its path before."""
        files: dict[str, dict[str, Entry]] = {}
        for name, entry in index.files.items():
            tree, _, path = name.partition("/")
            files.setdefault(tree, {})[path] = entry
        old = self.index(before).directories if before is not None else {}
        was = {tree: old.get(path) for path, tree in index.directories.items()}
        for tree, found in files.items():
            yield Index(commit=tree, files=found), was.get(tree)

    def take_effect(self, commit: str, on: str | None = None) -> None:
        """Let `current` lead to a commit, which is never `on` trial. Raises OSError; blocks."""
        assert on is None
        lead(self.current, f"commits/{commit}.json")

    def base_of_trial(self) -> None:
        """Return None: no commit is on trial."""

    def end_trial(self) -> None:
        """Do nothing, as there is none."""

    def tidy(self, keep: int, kept: Collection[str | None]) -> None:
        """Remove drafts, and all commits but the newest, the one in force and those `kept`. Raises OSError; blocks."""
        for directory in (self.directory, self._commits):
            with contextlib.suppress(FileNotFoundError):
                for path in list(leftovers(directory)):
                    remove(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        files = [self._commits / f"{each}.json" for each in {*self._recorded()} - {self.in_force(), *kept}]
        for path in sorted(files, key=_age)[max(0, keep - 1) :]:
            path.unlink(missing_ok=True)
            self._read.pop(path.stem, None)

    def used(self) -> frozenset[str]:
        """Return the tree ids of every commit that is kept. Blocks."""
        return frozenset(tree for commit in self._recorded() for tree in self.index(commit).directories.values())


def sources_in_force(paths: StatePaths) -> dict[str, SourceInForce]:
    """Return what apps can take from repositories now, by the name of what is followed. Blocks."""
    found = {}
    with contextlib.suppress(OSError):
        for directory in list(paths.sources.iterdir()):
            repository, is_followed, _ = directory.name.partition("@")
            if is_followed:
                shared = Directories(paths.source(repository))
                found[directory.name] = SourceTrees(directory, shared).resolved()
    return found


class _Objects:
    """What `cat-file --batch` printed into a file, object by object."""

    def __init__(self, batch: Path) -> None:
        self._file = batch.open("rb")
        self._places: dict[str, tuple[int, int]] = {}
        try:
            while head := self._file.readline(_BLOCK):
                fields = head.decode("ascii", errors="replace").split()
                if len(fields) != 3 or fields[1] != "blob":
                    raise OSError(f"git does not know the object {' '.join(fields)[:80]}")
                at, size = self._file.tell(), int(fields[2])
                self._places[fields[0]] = (at, size)
                self._file.seek(at + size + 1)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def of(self, tree: Index) -> Iterator[tuple[str, bytes]]:
        """Yield the objects of a directory that were printed. Raises OSError for one that is incomplete."""
        for each in dict.fromkeys(entry.id for entry in tree.files.values()):
            if each not in self._places:
                continue
            at, size = self._places[each]
            self._file.seek(at)
            content = self._file.read(size)
            if len(content) != size or self._file.read(1) != b"\n":
                raise OSError("what git printed of an object is incomplete")
            yield each, content


def _age(path: Path) -> float:
    """Return a number that is greater the longer ago a file was written."""
    try:
        return -path.stat().st_mtime_ns
    except OSError:
        return 0.0
