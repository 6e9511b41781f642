"""Measure and cut text by the cells it takes on a terminal: two for a wide character, none for a combining mark.

A terminal that measures differently shows a column out of line; the screen neither wraps nor breaks.
"""

import unicodedata
from collections.abc import Iterator
from functools import lru_cache

_ZERO_WIDTH = ("Mn", "Me", "Cf")


def cell_count(text: str) -> int:
    """Return how many cells printable text takes."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def clipped(text: str, width: int) -> str:
    """Return as much of the text as fits into `width` cells."""
    if text.isascii():
        return text[: max(0, width)]
    taken = 0
    for at, character in enumerate(text):
        taken += _cells(character)
        if taken > width:
            return text[:at]
    return text


def clipped_start(text: str, width: int) -> str:
    """Return as much of the end of the text as fits into `width` cells."""
    taken = 0
    for at in range(len(text) - 1, -1, -1):
        taken += _cells(text[at])
        if taken > width:
            return text[at + 1 :]
    return text


def padded(text: str, width: int) -> str:
    """Return the text in exactly `width` cells: clipped, or followed by spaces."""
    text = clipped(text, width)
    return text + " " * (width - cell_count(text))


def chopped(text: str, width: int) -> Iterator[str]:
    """Yield the text in pieces of at most `width` cells, and of at least one character."""
    start = taken = 0
    for at, character in enumerate(text):
        needed = _cells(character)
        if taken + needed > width and at > start:
            yield text[start:at]
            start, taken = at, 0
        taken += needed
    if start < len(text):
        yield text[start:]


@lru_cache(maxsize=4096)
def _cells(character: str) -> int:
    """By Unicode Standard Annex 11: wide and full-width characters take two cells."""
    if unicodedata.category(character) in _ZERO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
