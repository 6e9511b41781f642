"""Build the lines of a screen: pieces of text, each with a style by name, fitted to a width.

Every text is made printable before it is measured, so nothing an app, a manifest or a file name says reaches the
terminal as a control sequence.
"""

import re
from collections.abc import Sequence
from typing import TypeAlias

import click

from reconciler.cli.live.cells import cell_count, chopped, clipped, clipped_start
from reconciler.cli.table import STATE_COLOURS, coloured
from reconciler.inspection.printable import plain

Line: TypeAlias = "list[tuple[str, str]]"

_STYLES: dict[str, dict[str, object]] = {
    **{state: {"fg": colour} for state, colour in STATE_COLOURS.items()},
    "bold": {"bold": True},
    "dim": {"dim": True},
    "bad": {"fg": "red"},
    "selected": {"reverse": True},
}


# The directories of an absolute path; the name that follows them stays.
_DIRECTORIES = re.compile(r"(?<![\w./:…-])/(?:[^\s/:;,'\"]+/)+(?=[^\s/:;,'\"])")


def text_of(line: Line) -> str:
    """Return the text without its styles."""
    return "".join(text for text, _ in line)


def fitted(line: Line, width: int) -> Line:
    """Return the line as it may be drawn: printable, and cut at the width."""
    drawn: Line = []
    for raw, style in line:
        text = clipped(plain(raw), width)
        if text:
            drawn.append((text, style))
        width -= cell_count(text)
    return drawn


def cell(text: str, width: int, *, right: bool = False) -> str:
    """Return the text, printable and in exactly `width` cells, with an ellipsis where it was cut."""
    text = plain(text)
    missing = width - cell_count(text)
    if missing < 0:
        text = clipped(text, width - 1) + "…" if width > 0 else ""
        missing = width - cell_count(text)
    return " " * missing + text if right else text + " " * missing


def shortened(text: str, width: int) -> str:
    """Return the text, printable and in at most `width` cells, without what matters least where it does not fit.

    That is what follows the last semicolons, as hints do; then the directories of paths; then the middle, since the end
    names the cause.
    """
    text = plain(text)
    while cell_count(text) > width and "; " in text:
        text = text.rpartition("; ")[0]
    if cell_count(text) > width:
        text = _DIRECTORIES.sub("…/", text)
    if cell_count(text) <= width:
        return text
    head = clipped(text, max(0, width // 3)).rstrip()
    return f"{head}…{clipped_start(text, width - cell_count(head) - 1).lstrip()}" if width > 0 else ""


def paragraph(text: str, width: int, style: str = "", *, most: int, indent: int = 0) -> list[Line]:
    """Wrap the text between words where possible; an ellipsis ends it where it takes more than `most` lines."""
    room = max(1, width - indent)
    lines: list[str] = []
    for word in plain(text).split():
        if lines and cell_count(lines[-1]) + 1 + cell_count(word) <= room:
            lines[-1] += " " + word
        else:
            lines += chopped(word, room)
    if len(lines) > most:
        lines = [*lines[: most - 1], clipped(lines[most - 1], room - 1) + "…"]
    return [[(" " * indent + line, style)] for line in lines]


def block(title: str, texts: Sequence[str], width: int) -> list[Line]:
    """Return a title and lines below it, each cut at the width."""
    return [[(title, "bold")], *(fitted([("  " + text, "")], width) for text in texts)]


def painted(line: Line) -> str:
    """Return the line as it is sent to a terminal."""
    return "".join(_painted(text, style) for text, style in line)


def _painted(text: str, style: str) -> str:
    return click.style(text, **_STYLES[style]) if style in _STYLES and coloured() else text  # type: ignore[arg-type]
