"""Try an origin in git without a daemon, by the code that the daemon uses; nothing on this host is changed.

What is fetched goes into a store of its own, which is removed afterwards.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from reconciler.host.manifest_rules import rules_of
from reconciler.inspection.manifests import desired
from reconciler.linux.dataclass import dataclass
from reconciler.manifests.git import record as records
from reconciler.manifests.git.candidate import Candidate, NotAccepted
from reconciler.manifests.git.commit_signatures import CommitSignatures
from reconciler.manifests.git.commits import Commit
from reconciler.manifests.git.directories import Directories
from reconciler.manifests.git.judge import Judge
from reconciler.manifests.git.objects import BranchMissing, CannotFetch, DamagedStore, Head
from reconciler.manifests.git.program import GitProgram
from reconciler.manifests.git.servers import servers_by_type
from reconciler.manifests.git.source_judge import SourceCandidate, SourceJudge
from reconciler.manifests.git.source_origin import paths_by_source, source_origin
from reconciler.manifests.git.source_trees import SourceTrees
from reconciler.manifests.git.store import Store
from reconciler.manifests.git.trees import Trees
from reconciler.manifests.git.trial import HostInForce
from reconciler.settings.git import GitOrigin
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.inspection.snapshot import HostSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """The outcome of trying an origin: the newest commit, None if there is none, and why it would not be in force.

    `in_force` is the commit in force now; `steps` say what was done, `signer` who signed the newest commit.
    """

    head: Commit | None = None
    in_force: str | None = None
    problem: str = ""
    signer: str = ""
    steps: tuple[str, ...] = ()


def tried(settings: Settings, origin: GitOrigin, snapshot: "HostSnapshot | None") -> Tried:
    """Fetch the branch of an origin and judge its newest commit as the daemon would. Blocks.

    Raises OSError if git cannot be run.
    """
    if origin.is_source:
        return _tried_source(settings, origin, snapshot)
    catalog = desired(settings, snapshot)
    on_record = frozenset[str]() if snapshot is None else snapshot.service_records.names()
    in_force = HostInForce(lambda: catalog, rules_of(settings), servers_by_type(settings), lambda: on_record)
    record = records.read(settings.paths.origin(origin.name) / "record.json")
    now_in_force = Trees(settings.paths.origin(origin.name)).in_force()
    accepted = record.accepted_head or (None if now_in_force is None else Head(commit=now_in_force))
    with TemporaryDirectory(prefix="reconciler-git-") as scratch:
        store = Store(_program(Path(scratch)), Path(scratch), origin)
        judge = Judge(origin, store, CommitSignatures(origin.repository, Path(scratch)), in_force, Path(scratch))
        return asyncio.run(_tried(origin, store, judge, accepted, now_in_force))


def _tried_source(settings: Settings, origin: GitOrigin, snapshot: "HostSnapshot | None") -> Tried:
    """Try what apps take their sources from, with the directories that they take."""
    directory = settings.paths.source(origin.name)
    record = records.read(directory / "record.json")
    now_in_force = SourceTrees(directory, Directories(directory)).in_force()
    accepted = record.accepted_head or (None if now_in_force is None else Head(commit=now_in_force))
    paths = next(paths for name, (_, paths) in _sources(settings, snapshot).items() if name == origin.name)
    with TemporaryDirectory(prefix="reconciler-git-") as scratch:
        store = Store(_program(Path(scratch)), Path(scratch), origin)
        trees = SourceTrees(Path(scratch), Directories(Path(scratch) / "directories"))
        trees.paths = tuple(paths)
        judge = SourceJudge(origin, store, CommitSignatures(origin.repository, Path(scratch)), trees)
        return asyncio.run(_tried(origin, store, judge, accepted, now_in_force))


def sources(settings: Settings, snapshot: "HostSnapshot | None") -> Sequence[GitOrigin]:
    """Return what apps take their sources from, as the manifests in force name it. Blocks."""
    return [origin for origin, _ in _sources(settings, snapshot).values()]


def _sources(settings: Settings, snapshot: "HostSnapshot | None") -> dict[str, tuple[GitOrigin, Sequence[str]]]:
    return {
        followed.name: (
            source_origin(followed, settings.repositories[followed.repository], settings.git_host, settings.origins),
            paths,
        )
        for followed, paths in paths_by_source(desired(settings, snapshot).apps.values()).items()
        if followed.repository in settings.repositories
    }


def _program(directory: Path) -> GitProgram:
    program = GitProgram(directory)
    program.prepare()
    return program


async def _tried(origin: GitOrigin, store: Store, judge: Judge, accepted: Head | None, in_force: str | None) -> Tried:
    began = time.monotonic()
    try:
        known = None if accepted is None else accepted.commit
        led_to = await store.fetch(origin, known, since=origin.repository.first)
        head = await store.commit(led_to.commit)
        trial = await store.trial(origin)
    except (CannotFetch, BranchMissing, DamagedStore) as error:
        return Tried(in_force=in_force, problem=str(error))
    what, took_s = led_to.tag or origin.followed, time.monotonic() - began
    fetched = f"fetched {what} in {took_s:.1f} s: commit {head.id[:7]} “{head.subject}”"
    try:
        candidate, signer = await judge.judged(led_to, accepted, taken=False, refused=False)
    except (NotAccepted, DamagedStore) as error:
        return Tried(head=head, in_force=in_force, problem=str(error), steps=(fetched,))
    signature = f"signed by {signer}" if signer else "its signature is not required ('signed: no')"
    steps = (
        fetched,
        "it descends from the commit that was accepted" if accepted is not None else "no commit was accepted before",
        signature,
        _contents_of(candidate),
    )
    found = Tried(head=head, in_force=in_force, signer=signer, steps=steps)
    if isinstance(candidate, SourceCandidate) and candidate.problems:
        return replace(found, problem="; ".join(candidate.problems[path] for path in sorted(candidate.problems)))
    return found if trial is None else await _with_trial(found, origin, store, judge, led_to, trial)


def _contents_of(candidate: Candidate) -> str:
    files, manifests = len(candidate.tree.files), len(candidate.listing.files)
    if isinstance(candidate, SourceCandidate):
        return f"directories that apps take: {len(candidate.directories)}; their files within the limits: {files}"
    return f"files within the limits: {files}; manifests that are valid and inside the fence: {manifests}"


async def _with_trial(  # noqa: PLR0913, PLR0917  what it is judged by
    found: Tried, origin: GitOrigin, store: Store, judge: Judge, head: Head, commit: str
) -> Tried:
    """Judge the trial branch as well, on top of the newest commit."""
    try:
        subject = (await store.commit(commit)).subject
        candidate, signer = await judge.judged(Head(commit=commit), head, taken=False, refused=False)
    except NotAccepted as error:
        why = f"commit {commit[:7]} is not on top of {head.commit[:7]}" if error.ruling == "rewound" else str(error)
        return replace(found, problem=f"the trial of {origin.trial} would not be in force: {why}")
    except DamagedStore as error:
        return replace(found, problem=str(error))
    by = f", signed by {signer}" if signer else ""
    step = (
        f"the trial of {origin.trial} would be in force: commit {commit[:7]} “{subject}”{by}; {_contents_of(candidate)}"
    )
    return replace(found, steps=(*found.steps, step))


def not_in_force(settings: Settings, origin: GitOrigin) -> Sequence[Commit]:
    """Return the commits of a branch, as it was last fetched, that are newer than the one in force. Blocks.

    Raises DamagedStore or CannotFetch if what was fetched cannot be read, OSError if git cannot be run.
    """
    directory = settings.paths.source(origin.name) if origin.is_source else settings.paths.origin(origin.name)
    trees = SourceTrees(directory, Directories(directory)) if origin.is_source else Trees(directory)
    head, in_force = records.read(directory / "record.json").head, trees.in_force()
    if head is None or head == in_force:
        return ()
    return asyncio.run(_between(Store(GitProgram(settings.paths.git), settings.paths.git, origin), in_force, head))


async def _between(store: Store, in_force: str | None, head: str) -> list[Commit]:
    return [await store.commit(each) for each in await store.between(in_force, head)]
