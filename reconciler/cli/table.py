"""Print tables: fitted to the width of a terminal, with plain aligned columns in a pipe."""

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import click

from reconciler.inspection.printable import json_text, plain
from reconciler.planning.states import APP_STATES, SERVICE_STATES, Severity

_LAST_COLUMN_LEAST = 20
_GAP = "  "

_OF_SEVERITY: Mapping[Severity | None, str] = {"healthy": "green", "degraded": "red", "failing": "red", None: "yellow"}
_OF_STATE = {"sleeping": "blue", "retained": "blue", "stopped": "bright_black", "maintenance": "magenta"}

STATE_COLOURS: Mapping[str, str] = {
    state.name: _OF_STATE.get(state.name, _OF_SEVERITY[state.severity]) for state in (*APP_STATES, *SERVICE_STATES)
}
# Of a line of a unified difference, by its first letter.
DIFFERENCE_COLOURS: Mapping[str, str] = {"+": "green", "-": "red", "@": "cyan"}


def is_terminal() -> bool:
    """Return whether the standard output is a terminal."""
    return not sys.stdout.closed and sys.stdout.isatty()


def coloured() -> bool:
    """Return whether to print colours: on a terminal, unless NO_COLOR is set."""
    return is_terminal() and not os.environ.get("NO_COLOR")


def styled(text: str, **style: object) -> str:
    """Style the text where colours are printed."""
    return click.style(text, **style) if coloured() else text  # type: ignore[arg-type]


def state_styled(text: str, state: str) -> str:
    """Style the text in the colour of a state."""
    return styled(text, fg=STATE_COLOURS.get(state))


def width() -> int | None:
    """Return the terminal's number of columns, None in a pipe."""
    return shutil.get_terminal_size().columns if is_terminal() else None


def cut(text: str, limit: int | None) -> str:
    """Shorten the text to `limit` characters with an ellipsis."""
    if limit is None or len(text) <= limit:
        return text
    return text[: max(0, limit - 1)] + "…" * (limit > 0)


def wrapped(text: str, limit: int | None, indent: str = "  ") -> list[str]:
    """Wrap the text into lines of at most `limit` characters, those after the first indented."""
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
    """Return the lines of a table, of at most `limit` characters each; None means the terminal's width, if any.

    If they do not fit, columns are left out in the order of `spare`, then the last column is cut.
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
    """Return the width of the table with the least its last column needs."""
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
    """Print the facts as indented JSON."""
    click.echo(json_text(facts, indent=2))
