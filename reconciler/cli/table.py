"""Rows in, a table out: drawn for a terminal, plain aligned columns for a pipe."""

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence

import click

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")

STATE_COLOURS: Mapping[str, str] = {
    "running": "green",
    "sleeping": "blue",
    "stopped": "bright_black",
    "pending": "yellow",
    "staging": "yellow",
    "starting": "yellow",
    "stopping": "yellow",
    "maintenance": "magenta",
    "degraded": "red",
    "failing": "red",
    "invalid": "red",
}


def plain(text: object) -> str:
    """Text as it may be shown: nothing in it can move the cursor, colour the line or turn its direction."""
    return _CONTROL.sub(lambda found: "\ufffd" if found[0] not in "\t\n\r" else " ", str(text))


def coloured() -> bool:
    """True when the standard output is a terminal that wants colours."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def show(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; a cell of the column STATE is coloured on a terminal."""
    cells = [[plain(cell) for cell in row] for row in rows]
    for line in lines(columns, cells):
        click.echo(line)


def lines(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table: the last column is cut to the terminal's width, or left whole in a pipe."""
    widths = [max(len(row[i]) for row in [columns, *cells]) for i in range(len(columns))]
    limit = os.get_terminal_size().columns if sys.stdout.isatty() else None
    return [_line(row, columns, widths, limit, head=number == 0) for number, row in enumerate([columns, *cells])]


def _line(row: Sequence[str], columns: Sequence[str], widths: Sequence[int], limit: int | None, *, head: bool) -> str:
    left = limit
    parts: list[str] = []
    for column, cell, width in zip(columns, row, widths, strict=True):
        last = len(parts) == len(columns) - 1
        text = cell if last else cell.ljust(width)
        if left is not None:
            text = text if len(text) <= left else text[: max(0, left - 1)] + "…" * (left > 0)
            left = max(0, left - len(text) - 2)
        parts.append(_styled(text, column, cell, head=head))
    return "  ".join(parts).rstrip()


def _styled(text: str, column: str, cell: str, *, head: bool) -> str:
    if not coloured():
        return text
    if head:
        return click.style(text, bold=True)
    if column == "STATE" and cell in STATE_COLOURS:
        return click.style(text, fg=STATE_COLOURS[cell])
    return text


def show_json(facts: object) -> None:
    """Print facts as JSON."""
    click.echo(json.dumps(facts, indent=2, ensure_ascii=False))


def ago(seconds: float) -> str:
    """A span of time as a person would say it, in two units at most."""
    whole = max(0, round(seconds))
    for size, unit, smaller, sub in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size}{unit}{rest}{sub}" if rest else f"{whole // size}{unit}"
    return f"{whole}s"
