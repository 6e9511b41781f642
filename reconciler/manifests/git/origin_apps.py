"""The apps of an origin in git: whether each is up to date with a commit, and which of them failed with it."""

from collections.abc import Mapping
from typing import Protocol


class OriginApps(Protocol):
    """The apps of the origins of this host, as they are with the commit that is in force."""

    def is_proven(self, origin: str, commit: str) -> bool:
        """Return whether all that an origin asks for with a commit is up to date."""
        ...

    def failed(self, origin: str, commit: str) -> Mapping[str, str]:
        """Return the revisions of an origin's apps that failed with a commit, each with a sentence about it."""
        ...
