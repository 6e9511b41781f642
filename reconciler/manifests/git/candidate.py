"""A commit that is to be judged, and what judges of commits have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Protocol

from reconciler.documents.problem import Problem
from reconciler.linux.dataclass import dataclass
from reconciler.manifests.git.commits import Commit
from reconciler.manifests.git.objects import Objects
from reconciler.manifests.git.origin_trees import shared_directories
from reconciler.manifests.git.tree_index import Index, divided
from reconciler.manifests.git.tree_limits import Tree
from reconciler.manifests.origin import Listing
from reconciler.planning.origins.observed import Ruling
from reconciler.settings.git import GitOrigin

_MOST_TOLD = 3


class NotAccepted(Exception):
    """The ruling of a judge on a commit that is not accepted, and why, in a sentence.

    `problems` are what is wrong in its files, where that is why.
    """

    def __init__(self, ruling: Ruling, why: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(why)
        self.ruling = ruling
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unjudged:
    """A commit as it was fetched: with every commit that would newly take effect with it, the newest first.

    `raw` are the bytes of all of them, by id. `tag` is the name and the id of the tag that led to it, if one did.
    """

    origin: GitOrigin
    store: Objects
    commit: Commit
    accepted: str | None
    new: Sequence[str]
    raw: Mapping[str, bytes] = field(repr=False)
    is_taken: bool = False
    tag: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A commit whose files are known: the tree that its manifests use, and the manifests as a listing.

    `invalid` are the manifests of these that define nothing, as they have problems of their own.
    """

    unjudged: Unjudged
    tree: Tree
    listing: Listing
    messages: Sequence[str] = ()
    directories: Mapping[str, str] = field(default_factory=dict, repr=False)
    invalid: frozenset[str] = frozenset()
    named: frozenset[str] = frozenset()

    @property
    def index(self) -> Index:
        """The index of its files, as they are written."""
        prefix = f"{self.unjudged.origin.name}/"
        shared = shared_directories(self.tree, self.named, self.unjudged.origin.paths, self.directories)
        own, inside = divided(self.tree.files, shared)
        manifests = (file.removeprefix(prefix) for file in self.listing.files)
        told = {path: self.tree.files[path] for path in (*manifests, *self.named) if path in self.tree.files}
        return Index(
            commit=self.unjudged.commit.id,
            files={**own, **told},
            directories=self.directories,
            invalid=frozenset(file.removeprefix(prefix) for file in self.invalid),
            shared=shared,
            inside=inside,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBy:
    """Who signed a commit, or its tag, as people read it; and whose signature counts for each commit, by its id."""

    text: str = ""
    names: Mapping[str, str] = field(default_factory=dict)


class Signatures(Protocol):
    """What verifies the signatures of commits."""

    async def signed_by(self, unjudged: Unjudged) -> SignedBy:
        """Return who signed the commit and what is new with it. Raises NotAccepted."""
        ...

    def trust(self) -> str:
        """Return what identifies the keys that signatures are verified with now. Blocks."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What would be in force with other manifests of an origin: what is wrong then, and what it has before and after.

    Names of apps and services are told apart, each with its file. What is `beyond_fence` refuses a commit as a whole,
    whatever the settings say of other problems: nothing else holds its manifests back. Those that are `invalid` are not
    held against the fence, as they define nothing.
    """

    problems: Sequence[Problem]
    beyond_fence: Sequence[Problem]
    before: Mapping[str, str]
    after: Mapping[str, str]
    invalid: frozenset[str] = frozenset()


class InForce(Protocol):
    """What is in force on this host."""

    def surroundings(self, origin: GitOrigin) -> str:
        """Return what identifies all that a trial depends on beside the commit. Blocks."""
        ...

    def trial(self, origin: GitOrigin, listing: Listing) -> Trial:
        """Return what would be in force with these manifests of an origin, beside those of all others. Blocks."""
        ...


def told(problems: Sequence[Problem]) -> str:
    """Return the first problems as one text."""
    more = len(problems) - _MOST_TOLD
    return "; ".join(map(str, problems[:_MOST_TOLD])) + (f"; and {more} more" if more > 0 else "")
