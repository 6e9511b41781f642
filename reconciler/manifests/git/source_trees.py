"""Keep the directories that apps take from a repository: each by its tree id, and which of them a commit has.

A directory is complete or absent, and never changes: commits that have the same one share it, whatever led to them.
"""

import contextlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import leftovers, remove, replace_file
from reconciler.linux.regular_files import read_record
from reconciler.manifests.git.directories import Directories
from reconciler.manifests.git.printed_objects import PrintedObjects
from reconciler.manifests.git.tree_index import Index
from reconciler.manifests.git.tree_limits import Entry
from reconciler.manifests.git.trees import lead
from reconciler.manifests.sources_in_git import SourceInForce
from reconciler.state.paths import StatePaths

_COMMIT = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})\.json")
_MOST = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceIndex(Index):
    """The directories of a commit that apps take, by path, and why others cannot be used; files are by `TREE/PATH`."""

    subject: str = ""
    problems: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Completeness:
    """Whether a commit has every directory at `paths`, by its index and what is known on the disk."""

    index: SourceIndex
    known: frozenset[str]
    paths: tuple[str, ...]
    is_it: bool


class SourceTrees:
    """The commits of one thing that is followed, in `directory`, with their directories at `paths` in `shared`."""

    def __init__(self, directory: Path, shared: Directories) -> None:
        self.directory = directory
        self.shared = shared
        self.paths: tuple[str, ...] = ()
        self.current = directory / "current"
        self._commits = directory / "commits"
        self._read: dict[str, tuple[tuple[int, int], SourceIndex]] = {}
        self._complete: dict[str, _Completeness] = {}

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
        last = self._complete.get(commit)
        if last is None or last.index is not index or last.known is not known or last.paths is not self.paths:
            has = {path for path, tree in index.directories.items() if tree in known} | index.problems.keys()
            is_it = has.issuperset(self.paths)
            last = self._complete[commit] = _Completeness(index=index, known=known, paths=self.paths, is_it=is_it)
        return last.is_it

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

    def spare(self, _: str, __: int, ___: Collection[str | None]) -> None:
        """Return None: each directory is that of many commits."""

    def missing(self, index: Index, before: str | None, spare: str | None = None) -> list[str]:  # noqa: ARG002  as above
        """Return the objects of a commit, each once, that have to be read to write its directories. Blocks."""
        return list(
            dict.fromkeys(each for tree, old in self._changed(index, before) for each in self.shared.missing(tree, old))
        )

    def write(self, index: Index, batch: Path, before: str | None) -> None:
        """Write the directories of a commit from what `cat-file --batch` printed. Raises OSError; blocks."""
        assert isinstance(index, SourceIndex)
        with contextlib.closing(PrintedObjects(batch)) as objects:
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
            self._complete.pop(path.stem, None)

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


def _age(path: Path) -> float:
    """Return a number that is greater the longer ago a file was written."""
    try:
        return -path.stat().st_mtime_ns
    except OSError:
        return 0.0
