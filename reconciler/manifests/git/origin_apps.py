"""The apps of an origin in git, by which a commit is good or left again."""

from collections.abc import Sequence
from typing import Protocol

from reconciler.planning.origins.proof import OriginApp, Wanted


class OriginApps(Protocol):
    """The apps of the origins of this host, as they are with the commit that is in force."""

    def with_commit(self, origin: str, commit: str) -> Sequence[OriginApp] | None:
        """Return the apps and services of an origin; None while it is not known how they are with this commit.

        Those may be left out that a commit which is not good yet surely leaves as they were.
        """
        ...

    def wanted_with(self, origin: str, commit: str) -> Wanted | None:
        """Return the revision that each of them wants, and nothing else about it; None in the same case."""
        ...
