"""Decide by its history whether a commit may follow the one that was accepted before. Pure."""

from collections.abc import Callable

from reconciler.planning.origins.observed import Ruling

# Whether the first commit is the second or descends from it.
Descends = Callable[[str, str], bool]


def ancestry(commit: str, accepted: str | None, first: str | None, descends: Descends) -> tuple[Ruling, str]:
    """Return the ruling on a commit by its history alone, and why.

    What was accepted may only be followed by its descendants; with nothing accepted yet, by the descendants of `first`.
    """
    if accepted is not None and not descends(commit, accepted):
        return "rewound", (
            f"commit {commit[:7]} does not descend from {accepted[:7]}, which was accepted: the branch was rewound or"
            f" replaced; push a descendant, or confirm it with 'reconciler git take'"
        )
    if accepted is None and first is not None and not descends(commit, first):
        return "refused", f"commit {commit[:7]} does not descend from {first[:7]}, which trust begins with ('first')"
    return "accepted", ""
