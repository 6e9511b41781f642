"""Judge what a commit contains: its files, what its manifests come to on this host, and what it takes away.

Neither its history nor its signatures have a say in that. Nothing is changed.
"""

import asyncio
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from reconciler.documents.problem import Problem
from reconciler.documents.text import LARGEST_MANIFEST, text_of, too_large
from reconciler.documents.tree import Node, trees_of
from reconciler.manifests.git.candidate import Candidate, InForce, NotAccepted, Trial, Unjudged, told
from reconciler.manifests.git.commit_files import CommitChanges, CommitFiles, is_manifest_of, limits_of
from reconciler.manifests.git.commits import commit_of
from reconciler.manifests.git.commits import tree_of as tree_id_of
from reconciler.manifests.git.fence import named_files
from reconciler.manifests.git.fleet_file import FILE, is_fleet
from reconciler.manifests.git.fleet_history import FleetReader
from reconciler.manifests.git.objects import DamagedStore, Objects
from reconciler.manifests.git.signed_objects import LARGEST_OBJECT
from reconciler.manifests.git.tree_limits import (
    LONGEST_POINTER,
    Entry,
    Tree,
    TreeProblem,
    TreeReader,
    UnfitTree,
    link_problems,
    pointer_problem,
)
from reconciler.manifests.git.trees import contents_of
from reconciler.manifests.origin import Listing
from reconciler.planning.origins.removals import held_removals
from reconciler.settings.git import GitOrigin


class Contents:
    """Judges the contents of the commits of one origin; `scratch` is a directory for what is read."""

    def __init__(self, origin: GitOrigin, objects: Objects, in_force: InForce, scratch: Path) -> None:
        self._origin = origin
        self._objects = objects
        self.fleets = FleetReader(origin, objects)
        self._in_force = in_force
        self._scratch = scratch
        self._named: dict[tuple[str, str], frozenset[str]] = {}
        self._is_manifest = is_manifest_of(origin)
        self._changes = CommitChanges(origin, objects, scratch)
        self._last: CommitFiles | None = None

    async def judged(self, unjudged: Unjudged) -> tuple[Candidate, Trial]:
        """Return the commit with its files, and what would be in force with it.

        Raises NotAccepted, DamagedStore, TooLarge, OSError.
        """
        candidate = await self._candidate(unjudged)
        trial = await asyncio.to_thread(self._in_force.trial, self._origin, candidate.listing)
        fleet = await self.fleets.fleet(unjudged.commit.id)  # found with its files
        problems = [*(fleet if isinstance(fleet, list) else ()), *(trial.problems if self._origin.whole else ())]
        said = {(each.file, each.path) for each in problems}
        problems += [each for each in trial.beyond_fence if (each.file, each.path) not in said]
        if problems:
            raise NotAccepted("refused", told(problems), problems)
        if not unjudged.is_taken:
            self._judge_removals(candidate, trial)
        return replace(candidate, invalid=trial.invalid), trial

    async def _candidate(self, unjudged: Unjudged) -> Candidate:
        """Return the commit with the files that it uses: its manifests, and all that they name."""
        commit = unjudged.commit.id
        files = await self._files_since(commit, tree_id_of(unjudged.raw[commit])) or await self._all_files(commit)
        targets = await self.judge_files(files.tree, known=self._last)
        self._last = replace(files, targets=targets)
        messages = [commit_of(each, unjudged.raw[each]).message for each in unjudged.new]
        return Candidate(
            unjudged=unjudged,
            tree=files.tree,
            listing=listing_of(self._origin.name, commit, files.contents, files.manifests),
            messages=messages,
            directories=files.directories,
            named=files.named,
        )

    async def _files_since(self, commit: str, top: str) -> CommitFiles | None:
        """Return the files of a commit by those of the one that was judged last, None if that is not certain."""
        before = self._last
        if before is None or not top:
            return None
        found = await self._changes.since(before, commit, top)
        if found is None:
            return None
        same = {path for path, entry in found.manifests.items() if before.manifests.get(path) is entry}
        manifests = dict(found.manifests)
        contents = await self._contents({path: entry for path, entry in manifests.items() if path not in same})
        contents |= {path: before.contents[path] for path in same if path in before.contents}
        if FILE in contents and is_fleet(contents[FILE]):
            del manifests[FILE], contents[FILE]
        named = await asyncio.to_thread(self._named_in, contents, manifests)
        if named != before.named:
            return None
        if FILE.encode() in found.touched:
            await self.fleets.fleet(commit, found.listing)
        else:
            await self.fleets.fleet_as_of(commit, before.commit)
        return CommitFiles(
            commit=commit,
            tree=found.tree,
            manifests=manifests,
            contents=contents,
            directories=found.directories,
            named=named,
            reader=found.reader,
        )

    async def _all_files(self, commit: str) -> CommitFiles:
        """Return the files of a commit by its listing."""
        listing = await self._objects.listing(commit)
        await self.fleets.fleet(commit, listing)
        found, _ = await asyncio.to_thread(tree_of, listing, self._origin)
        manifests = {path: entry for path, entry in found.files.items() if self._is_manifest(path)}
        contents = await self._contents(manifests)
        if FILE in contents and is_fleet(contents[FILE]):
            del manifests[FILE], contents[FILE]
        named = await asyncio.to_thread(self._named_in, contents, manifests)
        tree, reader = await asyncio.to_thread(tree_of, listing, self._origin, named)
        return CommitFiles(
            commit=commit,
            tree=tree,
            manifests=manifests,
            contents=contents,
            directories=await self._objects.directories(commit),
            named=named,
            reader=reader,
        )

    def _named_in(self, contents: Mapping[str, bytes], manifests: Mapping[str, Entry]) -> frozenset[str]:
        """Return what manifests name in their repository; those that were in the commit before are not read again."""
        keys = {path: (path, manifests[path].id) for path in contents}
        before = self._named
        self._named = {
            key: before[key] if key in before else _named({path: contents[path]}) for path, key in keys.items()
        }
        return frozenset().union(*self._named.values())

    async def _contents(self, files: Mapping[str, Entry]) -> dict[str, bytes]:
        """Return the content of files by path; those that are too large for a manifest are left out."""
        ids = sorted({entry.id for entry in files.values() if entry.size <= LARGEST_MANIFEST})
        by_id = await self.read(ids, "blob") if ids else {}
        return {path: by_id[entry.id] for path, entry in files.items() if entry.id in by_id}

    async def read(self, ids: Iterable[str], kind: str) -> dict[str, bytes]:
        """Return objects by id, read at once. Raises DamagedStore, OSError."""
        with TemporaryDirectory(dir=self._scratch, prefix=".draft-") as directory:
            asked, batch = Path(directory, "ids"), Path(directory, "objects")
            await asyncio.to_thread(asked.write_text, "".join(f"{each}\n" for each in ids))
            # The sizes of files are in the listing; a few kilobytes of a pack can be gigabytes of a message.
            sizes = await self._objects.sizes(asked) if kind != "blob" else {}
            for each in (each for each, size in sizes.items() if size > LARGEST_OBJECT):
                limit = LARGEST_OBJECT // 1024**2
                raise NotAccepted("refused", f"commit {each[:7]} is larger than {limit} MiB, which is the limit")
            if sum(sizes.values()) > self._origin.repository.largest_store:
                raise NotAccepted("refused", "its new commits are together larger than 'size' of the repository")
            await self._objects.contents(asked, batch)
            try:
                return await asyncio.to_thread(contents_of, batch, kind)
            except OSError as error:
                raise DamagedStore(f"what was fetched cannot be read: {error}") from error

    async def judge_files(
        self, tree: Tree, top: str = "the repository", *, known: CommitFiles | None = None
    ) -> dict[str, bytes]:
        """Judge the links, and what is no file but stands for one, in what `top` names; return what the links contain.

        The files of a commit that is `known` were judged. Raises NotAccepted.
        """
        before = known.tree.files if known is not None else {}
        looked = {path: e for path, e in tree.files.items() if before.get(path) is not e and _is_looked_into(e)}
        contents = await self._contents(looked)
        links = tree.links
        targets = {path: contents[path] for path in links if path in contents}
        if known is not None:
            targets |= {path: known.targets[path] for path in links.keys() - looked.keys()}
        problems = link_problems(tree, targets, top)
        pointers = (pointer_problem(path, content) for path, content in contents.items() if path not in links)
        problems += [problem for problem in pointers if problem is not None]
        if problems:
            raise _unfit(self._origin, problems[0])
        return targets

    def _judge_removals(self, candidate: Candidate, trial: Trial) -> None:
        for path in self._origin.paths:
            before = [name for name, file in trial.before.items() if _is_in(file, self._origin.name, path)]
            is_left = any(_is_in(file, self._origin.name, path) for file in candidate.listing.files)
            if not is_left and (why := held_removals(before, (), candidate.messages)):
                where = f"has no manifest in '{path}' any more" if path else "has no manifest any more"
                raise NotAccepted("missing", f"commit {candidate.unjudged.commit.id[:7]} {where}: {why}")
        if not candidate.listing.files and not trial.before:
            where = " or ".join(f"'{path}'" for path in self._origin.paths if path) or "its top"
            raise NotAccepted("missing", f"commit {candidate.unjudged.commit.id[:7]} has no manifest in {where}")
        if why := held_removals(trial.before, trial.after, candidate.messages):
            raise NotAccepted("held", why)


def listing_of(origin: str, commit: str, contents: Mapping[str, bytes], manifests: Mapping[str, Entry]) -> Listing:
    """Return the manifests of a commit as a listing; `contents` lacks those that are too large."""
    return Listing(
        origin=origin,
        files={f"{origin}/{path}": _content(contents.get(path), entry) for path, entry in sorted(manifests.items())},
        identity=commit,
    )


def _content(content: bytes | None, entry: Entry) -> bytes | str:
    if entry.kind == "link":
        return "is a symbolic link, not a file; put the manifest itself in its place"
    return content if content is not None else too_large(entry.size)


def tree_of(listing: bytes, origin: GitOrigin, named: Iterable[str] = ()) -> tuple[Tree, TreeReader]:
    """Return the files of a listing that an origin uses, and what has read them. Raises NotAccepted."""
    try:
        reader = TreeReader(limits_of(origin), origin.paths, named)
        reader.read(listing)
        return reader.end(), reader
    except UnfitTree as error:
        raise _unfit(origin, error.problem) from error


def _unfit(origin: GitOrigin, problem: TreeProblem) -> NotAccepted:
    file = f"{origin.name}/{problem.path}" if problem.path else ""
    place = Problem(file=file, line=1, column=1, path="", message=problem.message)
    return NotAccepted("refused", str(problem), (place,) if file else ())


def _named(contents: Mapping[str, bytes]) -> frozenset[str]:
    """Return what manifests name in their repository, from its top."""
    return frozenset(place for path, tree in documents(contents) for _, place in named_files(path, tree))


def documents(contents: Mapping[str, bytes | str]) -> Iterator[tuple[str, Node]]:
    """Yield every document of manifests that is a mapping, with its file's path."""
    for path, content in contents.items():
        text = text_of(path, content) if isinstance(content, bytes) else None
        for tree in trees_of(path, text)[0] if isinstance(text, str) else ():
            if isinstance(tree.value, dict):
                yield path, tree


def _is_looked_into(entry: Entry) -> bool:
    return entry.kind == "link" or entry.size <= LONGEST_POINTER


def _is_in(file: str, origin: str, path: str) -> bool:
    """Return whether a manifest is directly in one of the directories of an origin."""
    return posixpath.dirname(file) == (f"{origin}/{path}" if path else origin)
