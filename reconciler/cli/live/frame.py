"""Facts, what a person has chosen and the size of a screen in; the lines that fill it out.

Every text that comes from elsewhere is made harmless before it gets into a line.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size

from reconciler.cli.live.columns import GAP, Column, Row, fitting, rows_of
from reconciler.cli.live.details import details_of
from reconciler.cli.live.facts import Details, Facts
from reconciler.cli.live.line import Line, fitted, said
from reconciler.cli.live.selection import KEYS, View, place
from reconciler.inspection.printable import counted, plain
from reconciler.planning.states import WORST_FIRST

_HINT = "↑↓ select  Enter details  s sort  r reverse  / filter  ? help  q quit"
_IN_DETAILS = "↑↓ select  Enter close  Tab next log  s sort  / filter  ? help  q quit"
_MOST_NOTES = 3
_LEAST_BODY = 3


def page_of(rows: int, view: View) -> int:
    """About how many apps a screen of so many rows shows at once."""
    return max(1, rows // 4 if view.details else rows - 5)


def frame(facts: Facts | None, details: Details | None, view: View, columns: int, rows: int) -> list[Line]:
    """The whole screen: as many lines as it has rows at most, none wider than its columns."""
    if facts is None:
        return [fitted([("looking …", "")], columns)][:rows]
    shown = rows_of(facts, view)
    notes = [*_notes(facts, columns)][:_MOST_NOTES] if rows >= 12 else []
    top = [_title(facts, view, len(shown)), *notes]
    foot = _foot(facts, view)
    left = rows - len(top) - 1
    if view.help:
        middle = [[(f"  {keys:<20}{what}", "")] for keys, what in KEYS]
    else:
        middle = _middle(shown, details, view, columns, left)
    lines = [*top, *middle[: max(0, left)]]
    lines += [[] for _ in range(rows - 1 - len(lines))]
    return [fitted(line, columns) for line in [*lines[: rows - 1], foot]][-rows:]


def _middle(shown: Sequence[Row], details: Details | None, view: View, columns: int, height: int) -> list[Line]:
    if not shown:
        return [[("no apps" if not view.filter else "no app has this in its name, state or message", "dim")]]
    at = place(view, [row.name for row in shown])
    selected = shown[at]
    if not view.details:
        below = _whole_message(selected, shown, columns, view.sort) if height > 8 else []
        table = _table(shown, at, view, columns, height - len(below))
        return [*table, *([[] for _ in range(height - len(table) - len(below))] if below else []), *below]
    table = _table(shown, at, view, columns, min(len(shown) + 1, max(_LEAST_BODY, height // 4) + 1))
    of_it = details if details is not None and (details.name, details.log) == (selected.name, view.log) else None
    return [*table, *details_of(selected, of_it, view.log, columns, height - len(table))]


def _table(shown: Sequence[Row], at: int, view: View, width: int, height: int) -> list[Line]:
    """The head, and as many rows as there is room for, the selected one among them."""
    columns = fitting(shown, width - GAP, view.sort)
    room = max(1, height - 1)
    first = max(0, min(at - room // 2, len(shown) - room))
    mark = {view.sort: f"{view.sort} {'▲' if view.reverse else '▼'}"}
    titles = (_cut(mark.get(c.name, c.name), wide, right=c.right) for c, wide in columns)
    head: Line = [("  ", ""), (_gapped(titles), "bold")]
    body = [_row(row, columns, width, chosen=first + n == at) for n, row in enumerate(shown[first : first + room])]
    return [head, *body]


def _row(row: Row, columns: Sequence[tuple[Column, int]], width: int, *, chosen: bool) -> Line:
    cells = [(column, _cut(plain(column.cell(row)), wide, right=column.right)) for column, wide in columns]
    if chosen:
        return [(set_cell_size("▸ " + _gapped(text for _, text in cells), width), "chosen")]
    line: Line = [("  ", "")]
    for number, (column, text) in enumerate(cells):
        line += [(" " * GAP * (number > 0), ""), (text, row.state if column.name == "STATE" else "")]
    return line


def _whole_message(row: Row, shown: Sequence[Row], width: int, sort: str) -> list[Line]:
    """What the table had to cut of the selected app's message."""
    columns = {column.name: wide for column, wide in fitting(shown, width - GAP, sort)}
    if not row.message or cell_len(row.message) <= columns.get("MESSAGE", 0):
        return []
    told = row.message if row.name in row.message else f"{row.name}: {row.message}"
    return said(told, width, row.state, most=2)


def _title(facts: Facts, view: View, shown: int) -> Line:
    apps = facts.status["apps"]
    states = Counter(str(app["state"]) for app in apps)
    line: Line = [(counted(len(apps), "app"), "bold")]
    for number, state in enumerate(state for state in WORST_FIRST if states[state]):
        line += [(": " if number == 0 else ", ", ""), (f"{states[state]} {state}", state)]
    if view.filter:
        line += [("  ·  ", "dim"), (f"{shown} with '{plain(view.filter)}'", "bold")]
    pid = facts.status["daemon"]["pid"]
    return [*line, ("  ·  ", "dim"), (f"daemon {pid}" if pid else "no daemon", "dim" if pid else "bad")]


def _notes(facts: Facts, width: int) -> Iterator[Line]:
    """What is to be said of the host, its manifests and its services."""
    status = facts.status
    told = [facts.trouble, status["notice"] or ""]
    told += [
        f"refused: {entry['file']}:{error['line']}:{error['column']}: {error['message']}"
        for entry in status["manifests"]
        for error in entry["errors"][:1]
    ]
    told += [f"service {each['name']}: {each['state']}: {each['message']}" for each in _unwell(status)]
    yield from ([(_cut(plain(text), width), "bad")] for text in told if text)
    if not status["daemon"]["running"]:
        yield [("no daemon runs: what is shown goes on, but nothing watches it ('reconciler run' does)", "bad")]


def _unwell(status: Any) -> list[Any]:
    return [each for each in status.get("services", ()) if each["state"] not in {"ready", "retained"}]


def _foot(facts: Facts, view: View) -> Line:
    if view.typing:
        return [("filter: ", "bold"), (plain(view.filter), ""), ("█", ""), ("   Enter keeps it, Esc drops it", "dim")]
    if view.help:
        return [("any key: back to the apps", "dim")]
    services = facts.status.get("services", ())
    told = f"  ·  {counted(len(services), 'service')}, {len(_unwell(facts.status))} not ready" if services else ""
    return [((_IN_DETAILS if view.details else _HINT) + told, "dim")]


def _gapped(cells: "Iterator[str]") -> str:
    return (" " * GAP).join(cells)


def _cut(text: str, width: int, *, right: bool = False) -> str:
    """The text in exactly so many cells, with an ellipsis where something is missing."""
    missing = width - cell_len(text)
    if missing >= 0:
        return " " * missing + text if right else text + " " * missing
    return set_cell_size(text, width - 1) + "…" if width > 0 else ""
