"""The memory of a schedule: which of its past it has considered. Nothing in it is ever considered twice.

Time that the clock jumped over, or that the host slept through, is no part of it: when the clock was wrong and is set
back, the occurrences there have not come yet.
"""

from dataclasses import replace
from typing import TypeAlias

from reconciler.linux.dataclass import dataclass

# From one instant to another, both included.
Lived: TypeAlias = tuple[tuple[int, int], ...]

_MOST_INTERVALS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The intervals, in order, whose occurrences were considered; `id` is that of the schedule with these times.

    `suspended` says why no occurrence counts now, "" if they do.
    """

    id: str
    lived: Lived = ()
    suspended: str = ""

    def begun(self, at: int) -> "History":
        """Return the history when occurrences count from an instant on, and not before it."""
        return replace(self, lived=_merged((*self.lived, (at, at))), suspended="")

    def continued(self, until: int) -> "History":
        """Return the history when every occurrence up to an instant was considered, too."""
        before = [each for each in self.lived if each[0] <= until]
        start = before[-1][0] if before else until
        return replace(self, lived=_merged((*self.lived, (start, until))))

    def jumped(self, considered: tuple[int, ...]) -> "History":
        """Return the history when of what was jumped over only these instants were considered."""
        return replace(self, lived=_merged((*self.lived, *((at, at) for at in considered))))

    def end_before(self, now: int) -> int | None:
        """Return the end of the interval that an instant is in or after; None if it is before them all."""
        ends = [end for start, end in self.lived if start <= now]
        return ends[-1] if ends else None

    def end_around(self, at: int) -> int | None:
        """Return the end of the interval that an instant is in; None if it is in none."""
        return next((end for start, end in self.lived if start <= at <= end), None)


def _merged(intervals: Lived) -> Lived:
    """Return the intervals in order; those that touch become one, and so do the oldest of too many."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    while len(found) > _MOST_INTERVALS:
        found[:2] = [(found[0][0], found[1][1])]
    return tuple(found)
