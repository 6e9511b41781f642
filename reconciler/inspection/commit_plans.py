"""Say what a commit would do on this host: judged as its origin's daemon would, and planned as `plan` plans.

A commit that was fetched already is read where it is; another is fetched into a store of its own. Nothing is changed.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from reconciler.host.manifest_rules import rules_of
from reconciler.inspection.manifests import desired
from reconciler.inspection.plans import AppPlan, plans_for
from reconciler.linux.dataclass import dataclass
from reconciler.manifests.catalog import Catalog, review
from reconciler.manifests.git import record as records
from reconciler.manifests.git.candidate import Candidate, NotAccepted
from reconciler.manifests.git.commit_signatures import CommitSignatures
from reconciler.manifests.git.commits import Commit
from reconciler.manifests.git.git_origin import versions_of
from reconciler.manifests.git.judge import Judge
from reconciler.manifests.git.materialise import materialise
from reconciler.manifests.git.objects import BranchMissing, CannotFetch, DamagedStore, Head, Objects
from reconciler.manifests.git.origin_trees import OriginTrees
from reconciler.manifests.git.program import GitProgram
from reconciler.manifests.git.record import Record
from reconciler.manifests.git.servers import servers_by_type
from reconciler.manifests.git.store import Store
from reconciler.manifests.git.trees import Trees
from reconciler.manifests.git.trial import HostInForce
from reconciler.manifests.origins import look_once
from reconciler.planning.origins.observed import Ruling
from reconciler.settings.git import GitOrigin
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.inspection.snapshot import HostSnapshot

_ID = re.compile(r"[0-9a-f]{7,64}")
_FULL_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# What may stand in the name of a branch or a tag, by git-check-ref-format(1), without what a shell or a refspec reads.
_REF = re.compile(r"(?![-/.])(?!.*(\.\.|//|@\{|/\.|\.lock(/|$)|[./]$))[A-Za-z0-9._/@+-]+")
_BRANCHES, _TAGS = "refs/heads/", "refs/tags/"


class NoCommit(Exception):
    """A commit that is not found, or cannot be had; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitPlan:
    """A commit of an origin, the ruling on it, why, and who signed it; and, if it is accepted, the plans with it.

    `catalog` is what would be desired then.
    """

    origin: str
    commit: Commit
    ruling: Ruling
    why: str = ""
    signer: str = ""
    plans: tuple[AppPlan, ...] = ()
    catalog: Catalog = field(default_factory=Catalog)

    def facts(self) -> Mapping[str, Any]:
        """Return the commit and the ruling on it as JSON data."""
        return {
            "origin": self.origin,
            "id": self.commit.id,
            "subject": self.commit.subject,
            "ruling": self.ruling,
            "message": self.why,
            "signed_by": self.signer,
        }


@contextlib.contextmanager
def commit_plan(  # noqa: PLR0913  those of `plans_now`, and the commit
    settings: Settings,
    snapshot: "HostSnapshot",
    origin: GitOrigin,
    ref: str,
    app: str | None = None,
    *,
    with_sources: bool = False,
) -> Iterator[CommitPlan]:
    """Plan for a commit by the beginning of its id, or for what a branch or a tag leads to now. Blocks.

    Its files can be read as long as the context lasts. Raises NoCommit, OSError if git cannot be run, and what
    `plans_now` does.
    """
    with TemporaryDirectory(prefix="reconciler-git-") as scratch:
        directory = Path(scratch)
        before = desired(settings, snapshot)
        on_record = snapshot.service_records.names()
        in_force = HostInForce(lambda: before, rules_of(settings), servers_by_type(settings), lambda: on_record)
        try:
            found = asyncio.run(_judged(_Question.of(settings, origin, ref, directory), in_force))
        except (DamagedStore, CannotFetch, BranchMissing) as error:
            raise NoCommit(str(error)) from error
        except TimeoutError as error:
            raise NoCommit("git takes too long") from error
        if isinstance(found, CommitPlan):
            yield found
            return
        candidate, signer = found
        commit = candidate.unjudged.commit
        snapshot.elsewhere = {str(settings.paths.current(origin.name)): directory / "trees" / commit.id}
        catalog = _catalog_with(settings, origin, candidate, before)
        plans = plans_for(catalog, snapshot, app, settings, with_sources=with_sources)
        yield CommitPlan(
            origin=origin.name,
            commit=commit,
            ruling="accepted",
            signer=signer,
            plans=tuple(plans),
            catalog=catalog,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """A commit of an origin by a name; `accepted` is what the daemon accepted last, `scratch` is a directory."""

    settings: Settings
    origin: GitOrigin
    ref: str
    record: Record
    accepted: Head | None
    scratch: Path

    @classmethod
    def of(cls, settings: Settings, origin: GitOrigin, ref: str, scratch: Path) -> "_Question":
        directory = settings.paths.origin(origin.name)
        record, now = records.read(directory / "record.json"), Trees(directory).in_force()
        accepted = record.accepted_head or (None if now is None else Head(commit=now))
        return cls(settings=settings, origin=origin, ref=ref, record=record, accepted=accepted, scratch=scratch)


async def _judged(question: _Question, in_force: HostInForce) -> CommitPlan | tuple[Candidate, str]:
    """Return a commit that would be accepted, whose files are then in `scratch`, and who signed it; or the ruling."""
    origin, record, scratch = question.origin, question.record, question.scratch
    store, head = await _found(question)
    commit = await store.commit(head.commit)
    judge = Judge(origin, store, CommitSignatures(origin.repository, scratch), in_force, scratch)
    try:
        record.refuse_returned(commit.id)
        is_taken, is_refused = record.taken == commit.id, commit.id in record.refusals
        candidate, signer = await judge.judged(head, question.accepted, taken=is_taken, refused=is_refused)
        await materialise(candidate.index, store, OriginTrees(scratch))
    except NotAccepted as error:
        return CommitPlan(origin=origin.name, commit=commit, ruling=error.ruling, why=str(error))
    return candidate, signer


async def _found(question: _Question) -> tuple[Objects, Head]:
    """Return where a commit is to be read, and the commit. Raises NoCommit, CannotFetch, DamagedStore."""
    origin, ref, record = question.origin, question.ref, question.record
    if not _REF.fullmatch(ref):
        raise NoCommit(f"'{ref}' is no name of a commit, a branch or a tag")
    paths = question.settings.paths
    own = Store(GitProgram(paths.git), paths.git, origin)
    if _ID.fullmatch(ref) and own.path.is_dir() and (commit := await own.resolved(ref)) is not None:
        is_head = commit == record.head
        return own, Head(commit=commit, tag=record.tag, tag_id=record.tag_id) if is_head else Head(commit=commit)
    program = GitProgram(question.scratch)
    await asyncio.to_thread(program.prepare)
    since = None if question.accepted is None else question.accepted.commit
    for followed in _followed(ref):
        wanted = replace(origin, branch=followed.branch, tags=followed.tags, commit=followed.commit)
        store = Store(program, question.scratch, wanted)
        with contextlib.suppress(BranchMissing):
            return store, await store.fetch(wanted, since, since=origin.repository.first)
    raise NoCommit(f"{origin.name} has no branch or tag '{ref}', and no commit of this id was fetched")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Followed:
    """What is fetched, as settings name it; all but one are empty."""

    branch: str = ""
    tags: str = ""
    commit: str = ""


def _followed(ref: str) -> Iterator[_Followed]:
    """Yield what could be meant by a name, in the order in which it is looked for."""
    if _FULL_ID.fullmatch(ref):
        yield _Followed(commit=ref)
        return
    if not ref.startswith(_TAGS):
        yield _Followed(branch=ref.removeprefix(_BRANCHES))
    if not ref.startswith(_BRANCHES):
        yield _Followed(tags=ref.removeprefix(_TAGS))


def _catalog_with(settings: Settings, origin: GitOrigin, candidate: Candidate, before: Catalog) -> Catalog:
    """Return what would be desired with a commit in force, and everything else as it is."""
    versions = versions_of(candidate.index, str(settings.paths.current(origin.name)))
    listing = replace(candidate.listing, versions=versions)
    looks = [listing if look.origin == origin.name else look for look in look_once(settings)]
    return review(before, looks, rules_of(settings), time.monotonic())
