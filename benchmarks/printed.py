"""How a study tells what it found: a line of seconds, and a ratio beside its bound."""

import statistics
from collections.abc import Sequence


def summary(seconds: Sequence[float]) -> str:
    """Median, least and most, in milliseconds."""
    return (
        f"median {statistics.median(seconds) * 1000:6.1f} ms   "
        f"min {min(seconds) * 1000:6.1f}   max {max(seconds) * 1000:6.1f}   ({len(seconds)} runs)"
    )


def verdict(what: str, ratio: float, at_most: float) -> bool:
    """Print a ratio beside its bound; True when it holds."""
    holds = ratio <= at_most
    print(f"{what}: ratio {ratio:.2f}, at most {at_most:.2f}: {'holds' if holds else 'DOES NOT HOLD'}")
    return holds
