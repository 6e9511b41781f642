"""Where manifests come from: an origin is looked at, and what it holds is a listing that carries its name.

A file is identified by its origin and its path there. A listing gives that as one text, `ORIGIN/PATH`: as a directory
is named by its own path, its files are named by theirs.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from reconciler.linux.dataclass import dataclass

if TYPE_CHECKING:  # a single look watches nothing
    from reconciler.linux.inotify import WatchProblem

# A directory's device and inode, or the id of a commit.
Identity: TypeAlias = tuple[int, int] | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What an origin holds: each file's bytes, or why they cannot be had, by the file's identity.

    `identity` is what the origin's name leads to: another directory says that the origin was replaced as a whole, and
    another commit does not, as what it removes was judged before. `versions` identify the content of files and
    directories, by their absolute paths, where the origin knows it.
    """

    origin: str
    files: Mapping[str, bytes | str] = field(repr=False)
    identity: Identity
    versions: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """An origin that could not be read, and why ("cannot read /x: …"). What it held stays in force `until` then."""

    origin: str
    reason: str
    until: str = "it can be read"


Look: TypeAlias = Listing | Unreadable


def is_directory(origin: str) -> bool:
    """Return whether the files of an origin are files in a directory of this host, by the origin's name."""
    return origin.startswith("/")


class Origin(Protocol):
    """One place that manifests come from."""

    @property
    def name(self) -> str:
        """The origin's name, unlike that of any other."""
        ...

    @property
    def problem(self) -> "WatchProblem | None":
        """Why changes may go unnoticed until the next look, None when they will not."""
        ...

    @property
    def is_unsettled(self) -> bool:
        """Whether a change was noticed that the last look left out, because it may not be complete yet."""
        ...

    async def look(self) -> Look:
        """Return what the origin holds now. One look at a time."""
        ...

    async def may_have_changed_unseen(self) -> bool:
        """Return whether something may have changed since the last look that makes no look due by itself."""
        ...

    def close(self) -> None:
        """Stop watching for changes."""
        ...
