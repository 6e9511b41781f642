"""Figures of an origin in git: how its looks ended, how long they took, and what was refused.

They are in memory and start at 0 with each daemon, as Prometheus expects of counters.
"""

from collections import Counter
from typing import Any

from reconciler.metrics.counters import Durations


class OriginFigures:
    """The figures of one origin, since the daemon began."""

    def __init__(self) -> None:
        self._fetches = Durations()
        self._failures: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._calls = 0

    def fetched(self, seconds: float, failure: str) -> None:
        """Count a fetch that ended, by the code of why it failed, "" if it did not."""
        self._fetches.add(seconds)
        if failure:
            self._failures[failure] += 1

    def refused(self, ruling: str) -> None:
        """Count a commit that was judged and not accepted."""
        self._refused[ruling] += 1

    def called(self) -> None:
        """Count a call of the webhook."""
        self._calls += 1

    def as_json(self) -> dict[str, Any]:
        """Return all of them as JSON."""
        return {
            "fetches": {"buckets": self._fetches.buckets, "seconds": self._fetches.seconds},
            "failures": dict(sorted(self._failures.items())),
            "refused": dict(sorted(self._refused.items())),
            "calls": self._calls,
        }
