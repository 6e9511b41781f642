"""The documentation as a test reads it: fenced blocks, and the file each is to be saved as where a caption says so."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.site import REPOSITORY

DOCS = REPOSITORY / "docs"

_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_CAPTION = re.compile(r"`([\w./-]+)`:\n\n\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block: its language, what it holds, the line it begins at, and the file that a caption names."""

    language: str
    text: str
    line: int
    file: str | None


def pages() -> list[Path]:
    """Every page a person reads."""
    return [REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    for fence in _FENCE.finditer(text):
        caption = _CAPTION.search(text, 0, fence.start())
        yield Block(
            language=fence[1],
            text=fence[2],
            line=text.count("\n", 0, fence.start()) + 1,
            file=caption[1] if caption else None,
        )
