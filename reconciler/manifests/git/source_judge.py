"""Judge a commit that apps take their sources from: its history, its signatures, and each directory that one takes.

A directory that is unfit is no reason to refuse the commit to the apps of others, unless all are. One that is on this
host was judged before.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import field, replace

from reconciler.linux.dataclass import dataclass
from reconciler.manifests.git.candidate import Candidate, NotAccepted, Signatures, Trial, Unjudged
from reconciler.manifests.git.commit_changes import changes_of
from reconciler.manifests.git.commits import tree_of as tree_of_commit
from reconciler.manifests.git.contents import Contents, tree_of
from reconciler.manifests.git.judge import Judge
from reconciler.manifests.git.objects import Objects
from reconciler.manifests.git.source_trees import SourceIndex, SourceTrees
from reconciler.manifests.git.tree_limits import Entry, Tree
from reconciler.manifests.origin import Listing
from reconciler.planning.fingerprint import fingerprint
from reconciler.settings.git import GitOrigin
from reconciler.version import VERSION

_NOTHING = Trial(problems=(), beyond_fence=(), before={}, after={})


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCandidate(Candidate):
    """A commit with the directories that apps take, and why others are unfit."""

    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def index(self) -> SourceIndex:
        """The index of its directories, as they are written."""
        commit = self.unjudged.commit
        return SourceIndex(
            commit=commit.id,
            subject=commit.subject,
            files=self.tree.files,
            directories=self.directories,
            problems=self.problems,
        )


class TakenSources:
    """What is in force of the sources of apps, in place of manifests: the directories that apps take."""

    def __init__(self, trees: SourceTrees) -> None:
        self.trees = trees

    def surroundings(self, origin: GitOrigin) -> str:
        """Return what identifies all that a commit is judged by beside its signers."""
        return fingerprint([VERSION, repr(origin), list(self.trees.paths)])

    def trial(self, _: GitOrigin, __: Listing) -> Trial:
        """Return a trial of no manifests."""
        return _NOTHING


class SourceJudge(Judge):
    """Judges the commits of something that apps take their sources from."""

    def __init__(self, origin: GitOrigin, store: Objects, signatures: Signatures, trees: SourceTrees) -> None:
        super().__init__(origin, store, signatures, TakenSources(trees), trees.directory)
        self._contents = _SourceContents(origin, store, trees)


class _SourceContents(Contents):
    """Judges the directories in a commit that apps take."""

    def __init__(self, origin: GitOrigin, objects: Objects, trees: SourceTrees) -> None:
        super().__init__(replace(origin, paths=("",)), objects, TakenSources(trees), trees.directory)
        self._trees = trees
        self._directories: tuple[str, dict[str, str]] = ("", {})

    async def judged(self, unjudged: Unjudged) -> tuple[Candidate, Trial]:
        """Return the commit with its directories, and a trial of no manifests. Raises NotAccepted, DamagedStore."""
        commit, paths = unjudged.commit.id, self._trees.paths
        directories = await self._directories_of(commit, tree_of_commit(unjudged.raw[commit]))
        known = await asyncio.to_thread(self._trees.shared.known)
        found: dict[str, str] = {}
        files: dict[str, Entry] = {}
        problems: dict[str, NotAccepted] = {}
        judged: set[str] = set()
        for path in paths:
            try:
                tree = _tree_at(path, directories, commit)
                if tree not in known and tree not in judged:
                    fit = await self._fit(tree)
                    files |= {f"{tree}/{name}": entry for name, entry in fit.files.items()}
                    judged.add(tree)
                found[path] = tree
            except NotAccepted as error:
                problems[path] = error
        if problems and not found:
            first = next(iter(problems.values()))
            raise NotAccepted(first.ruling, _told(next(iter(problems)), commit, first))
        candidate = SourceCandidate(
            unjudged=unjudged,
            tree=Tree(files=files, paths=paths, absent=()),
            listing=Listing(origin=self._origin.name, files={}, identity=commit),
            directories=found,
            problems={path: _told(path, commit, error) for path, error in problems.items()},
        )
        return candidate, _NOTHING

    async def _directories_of(self, commit: str, top: str) -> Mapping[str, str]:
        """Return the tree ids of all directories of a commit, by those of the one before. Raises DamagedStore."""
        before, known = self._directories
        printed = await self._objects.changes(before, commit) if before and top else None
        changes = None if printed is None else changes_of(printed)
        if changes is None:
            found = await self._objects.directories(commit)
        else:
            found = {path: tree for path, tree in known.items() if path not in changes.directories_gone}
            found |= {**changes.directories, "": top}
        self._directories = (commit, found)
        return found

    async def _fit(self, tree: str) -> Tree:
        """Return the files of a directory by their paths in it. Raises NotAccepted."""
        found, _ = await asyncio.to_thread(tree_of, await self._objects.listing(tree), self._origin)
        await self.judge_files(found, "the directory of the app")
        return found


def _tree_at(path: str, directories: Mapping[str, str], commit: str) -> str:
    if path not in directories:
        raise NotAccepted("missing", f"commit {commit[:7]} has no directory '{path}'")
    return directories[path]


def _told(path: str, commit: str, error: NotAccepted) -> str:
    if error.ruling == "missing":
        return str(error)
    return f"commit {commit[:7]}, '{path}': {error}" if path else f"commit {commit[:7]}: {error}"
