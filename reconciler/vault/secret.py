"""A text that no print, log line, exception or dataclass shows."""

from dataclasses import dataclass, field

HIDDEN = "•••"


@dataclass(frozen=True, slots=True, eq=True)
class Secret:
    """A password or the like. `reveal()` is the only way to what it says, and easy to search for."""

    _said: str = field(repr=False)

    def reveal(self) -> str:
        """What it says."""
        return self._said

    def __repr__(self) -> str:
        return HIDDEN

    def __str__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)
