"""Slow down the changes of a source in which a program writes: a log beside the code is not a deploy each second.

An edit takes effect at once. When the same files only grow, or are no text, each change is held back three times as
long as the one before it, until they rest.
"""

from collections.abc import Collection

from reconciler.linux.dataclass import dataclass

_FIRST_S = 3.0
_LONGEST_S = 600.0
# With a longer rest between them, two changes have nothing to do with one another.
_REST_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often the same files of a source changed without a rest, in monotonic seconds."""

    files: frozenset[str] = frozenset()
    count: int = 0
    taken_at: float = float("-inf")
    seen_at: float = float("-inf")

    @property
    def due_at(self) -> float:
        """When the next change may take effect."""
        return self.taken_at + self._pause_s if self.count else float("-inf")

    @property
    def rests_at(self) -> float:
        """When the files rest, unless they change until then."""
        return self.seen_at + max(_REST_S, 2 * self._pause_s)

    @property
    def is_slowed(self) -> bool:
        """Whether the files changed more than once without a rest."""
        return self.count > 1 or (self.count == 1 and self.seen_at > self.taken_at)

    @property
    def note(self) -> str:
        """What an operator has to know about it."""
        names = ", ".join(sorted(self.files)[:3])
        verb = "is" if len(self.files) == 1 else "are"
        return (
            f"{names} in its source {verb} written again and again: changes take effect only every"
            f" {self._pause_s:g} s; write elsewhere, or list it in .reconcilerignore"
        )

    def seen(self, files: Collection[str], now: float) -> "Pace":
        """Return the pace after a change of these files that a program made; none: an edit."""
        if not files:
            return Pace()
        is_same = frozenset(files) <= self.files and now < self.rests_at
        if not is_same:
            return Pace(files=frozenset(files), count=0, seen_at=now)
        return Pace(files=self.files, count=self.count, taken_at=self.taken_at, seen_at=now)

    def taken(self, now: float) -> "Pace":
        """Return the pace after a change took effect."""
        count = self.count + 1 if self.files else 0
        return Pace(files=self.files, count=count, taken_at=now, seen_at=min(self.seen_at, now))

    @property
    def _pause_s(self) -> float:
        return float(min(_LONGEST_S, _FIRST_S * 3.0 ** max(0, min(self.count, 8) - 1)))
