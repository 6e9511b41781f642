"""Rows in, a table out: fitted to a terminal, plain aligned columns for a pipe."""

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import click

from reconciler.inspection.printable import json_text, plain

_LAST_COLUMN_LEAST = 20
_GAP = "  "

STATE_COLOURS: Mapping[str, str] = {
    "running": "green",
    "ready": "green",
    "retained": "blue",
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


def is_terminal() -> bool:
    """True when a person reads the standard output as it comes."""
    return sys.stdout.isatty()


def coloured() -> bool:
    """True when the standard output is a terminal that wants colours."""
    return is_terminal() and not os.environ.get("NO_COLOR")


def styled(text: str, **style: object) -> str:
    """The text in this style where colours are wanted, else as it is."""
    return click.style(text, **style) if coloured() else text  # type: ignore[arg-type]


def state_styled(text: str, state: str) -> str:
    """The text in the colour of a state."""
    return styled(text, fg=STATE_COLOURS.get(state))


def width() -> int | None:
    """How many columns the terminal has, None in a pipe."""
    return shutil.get_terminal_size().columns if is_terminal() else None


def cut(text: str, limit: int | None) -> str:
    """The text, shortened to `limit` characters with an ellipsis."""
    if limit is None or len(text) <= limit:
        return text
    return text[: max(0, limit - 1)] + "…" * (limit > 0)


def wrapped(text: str, limit: int | None, indent: str = "  ") -> list[str]:
    """The text as lines of at most `limit` characters, those after the first indented."""
    if limit is None or len(text) <= limit:
        return [text]
    return textwrap.wrap(text, max(limit, 20), subsequent_indent=indent, break_on_hyphens=False) or [""]


def show(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; a cell of the column STATE is coloured on a terminal."""
    cells = [[plain(cell) for cell in row] for row in rows]
    for line in lines(columns, cells):
        click.echo(line)


def lines(
    columns: Sequence[str], cells: Sequence[Sequence[str]], limit: int | None = None, spare: Sequence[str] = ()
) -> list[str]:
    """The lines of a table of at most `limit` characters each; None takes the terminal's width, or none in a pipe.

    Where they do not fit, columns are left out in the order of `spare`, then the last column is cut.
    """
    limit = width() if limit is None else limit
    table = [list(columns), *(list(row) for row in cells)]
    for name in spare:
        if limit is None or _needed(table) <= limit:
            break
        at = table[0].index(name)
        table = [row[:at] + row[at + 1 :] for row in table]
    widths = _widths(table)
    return [_line(row, table[0], widths, limit, head=number == 0) for number, row in enumerate(table)]


def _widths(table: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(row[i]) for row in table) for i in range(len(table[0]))]


def _needed(table: Sequence[Sequence[str]]) -> int:
    """How wide the table is with what must remain of its last column."""
    *others, last = _widths(table)
    return sum(others) + len(_GAP) * len(others) + min(last, _LAST_COLUMN_LEAST)


def _line(row: Sequence[str], columns: Sequence[str], widths: Sequence[int], limit: int | None, *, head: bool) -> str:
    left = limit
    parts: list[str] = []
    for number, (column, cell, wide) in enumerate(zip(columns, row, widths, strict=True)):
        text = cut(cell if number == len(columns) - 1 else cell.ljust(wide), left)
        if left is not None:
            left = max(0, left - len(text) - len(_GAP))
        parts.append(_cell(text, column, cell, head=head))
    return _GAP.join(parts).rstrip()


def _cell(text: str, column: str, cell: str, *, head: bool) -> str:
    if head:
        return styled(text, bold=True)
    return state_styled(text, cell) if column == "STATE" else text


def show_json(facts: object) -> None:
    """Print facts as JSON."""
    click.echo(json_text(facts, indent=2))
