"""A line of a screen: pieces of text, each with a style by name; fitted to a width, painted where colour is wanted."""

from collections.abc import Sequence
from typing import TypeAlias

import click
from rich.cells import cell_len, chop_cells, set_cell_size

from reconciler.cli.table import STATE_COLOURS, coloured

Line: TypeAlias = "list[tuple[str, str]]"

_STYLES: dict[str, dict[str, object]] = {
    **{state: {"fg": colour} for state, colour in STATE_COLOURS.items()},
    "bold": {"bold": True},
    "dim": {"dim": True},
    "bad": {"fg": "red"},
    "chosen": {"reverse": True},
}


def text_of(line: Line) -> str:
    """What it says."""
    return "".join(text for text, _ in line)


def fitted(line: Line, width: int) -> Line:
    """The line without what is beyond the width."""
    found: Line = []
    for text, style in line:
        if cell_len(text) > width:
            return [*found, (set_cell_size(text, width), style)]
        found.append((text, style))
        width -= cell_len(text)
    return found


def said(text: str, width: int, style: str = "", *, most: int, indent: int = 0) -> list[Line]:
    """A text as lines, broken between words where that can be; an ellipsis ends it where there are more than `most`."""
    room = max(1, width - indent)
    lines: list[str] = []
    for word in text.split():
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= room:
            lines[-1] += " " + word
        else:
            lines += chop_cells(word, room)
    if len(lines) > most:
        lines = [*lines[: most - 1], set_cell_size(lines[most - 1], min(cell_len(lines[most - 1]), room - 1)) + "…"]
    return [[(" " * indent + line, style)] for line in lines]


def painted(line: Line) -> str:
    """The line as it is sent to a terminal."""
    return "".join(_painted(text, style) for text, style in line)


def _painted(text: str, style: str) -> str:
    return click.style(text, **_STYLES[style]) if style in _STYLES and coloured() else text  # type: ignore[arg-type]


def block(title: str, texts: Sequence[str], width: int) -> list[Line]:
    """A title and lines below it, each cut to the width."""
    return [[(title, "bold")], *(fitted([("  " + text, "")], width) for text in texts)]
