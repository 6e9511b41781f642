"""Read from the records, and say, which part of new connections a canary gets."""

import json

from reconciler.planning.canary.weights import WHOLE, percent


def canary_share(stored: str | None) -> float | None:
    """Return the part of new connections of a canary as it is on record; None without one that gets any."""
    try:
        data = None if stored is None else json.loads(stored)
        weight = 0 if data is None else int(data["canary"]["weight"])
    except (KeyError, TypeError, ValueError):  # written by another version
        return None
    return weight / WHOLE if 0 < weight < WHOLE else None


def state_of(state: str, share: float | None) -> str:
    """Return the state of an app, of a canary with its part of new connections: `canary 5%`."""
    return state if share is None else f"{state} {percent(share)}"
