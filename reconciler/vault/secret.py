"""A secret text that no print, log line, exception or dataclass shows."""

from dataclasses import field

from reconciler.linux.dataclass import dataclass

HIDDEN = "•••"


@dataclass(frozen=True, slots=True, eq=True)
class Secret:
    """A password or the like, which only `reveal()` returns."""

    _text: str = field(repr=False)

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        return HIDDEN

    def __str__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)
