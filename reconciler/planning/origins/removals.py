"""Hold a commit that takes many apps away unless its author says so in a trailer. Pure."""

from collections.abc import Collection

from reconciler.planning.origins.trailers import UnclearTrailer, removals
from reconciler.planning.wording import listed

_FEW = 4
_MOST_NAMED = 3


def held_removals(before: Collection[str], after: Collection[str], messages: Collection[str]) -> str:
    """Return why a commit is held for what it removes, empty if it is not.

    `before` are the names in force from the origin, `after` those that the commit asks for, `messages` those of every
    commit that would newly take effect. More than half of more than four may go only if they are declared, or all of
    however few.
    """
    removed = sorted(set(before) - set(after))
    is_much = len(before) > _FEW and 2 * len(removed) > len(before)
    if not removed or (after and not is_much):
        return ""
    try:
        declared = [removals(message) for message in messages]
    except UnclearTrailer as error:
        return str(error)
    named = frozenset().union(*(each.names for each in declared))
    allowed = max((each.count for each in declared), default=0)
    undeclared = [name for name in removed if name not in named]
    if len(removed) <= allowed or not undeclared:
        return ""
    trailer = ", ".join(removed) if len(removed) <= _MOST_NAMED else f"{len(removed)} apps"
    return (
        f"it removes {len(removed)} of {len(before)} apps and services ({listed(removed)}): declare that in a commit"
        f" with the trailer 'Reconciler-Removes: {trailer}',"
        " or confirm it with 'reconciler git take'"
    )
