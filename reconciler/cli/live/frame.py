"""Render the whole live screen, from the facts, the user's view and the size of the screen."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.live.cells import cell_count, padded
from reconciler.cli.live.columns import GAP, Column, Row, fitting, rows_of
from reconciler.cli.live.details import details_of
from reconciler.cli.live.facts import Details, Facts
from reconciler.cli.live.line import Line, cell, fitted, paragraph, shortened
from reconciler.cli.live.log_screen import log_screen
from reconciler.cli.live.selection import KEYS, AppRequest, View, index_of
from reconciler.planning.states import WORST_FIRST
from reconciler.planning.wording import counted

if TYPE_CHECKING:
    from reconciler.inspection.status import HostStatus, ServiceRow

_HINT = "↑↓ select  Enter details  l logs  r restart  s stop  / filter  ? help  q quit"
_IN_DETAILS = "↑↓ select  Enter close  Tab next log  l logs  r restart  s stop  ? help  q quit"
_IN_LOGS = "↑↓ PgUp PgDn scroll  End follow  Tab next log  Esc back  ? help  q quit"
_MOST_NOTES = 3
_ROOMY = 20  # rows from which a note may take two
_LEAST_BODY = 3


def page_of(rows: int, view: View) -> int:
    """Return about how many apps a screen with this many rows shows at once."""
    return max(1, rows - 3 if view.logs else rows // 4 if view.details else rows - 5)


def frame(facts: Facts | None, details: Details | None, view: View, columns: int, rows: int) -> list[Line]:
    """Return at most as many lines as the screen has rows, none wider than its columns."""
    if facts is None:
        return [fitted([("loading …", "")], columns)][:rows]
    shown = rows_of(facts, view)
    notes = [*_notes(facts, columns, 2 if rows >= _ROOMY else 1)][:_MOST_NOTES] if rows >= 12 else []
    top = [] if view.logs else [_title(facts, view, len(shown)), *notes]
    foot = _foot(facts, view, columns)
    left = rows - len(top) - 1
    if view.help:
        body = [[(f"  {keys:<20}{meaning}", "")] for keys, meaning in KEYS]
    else:
        body = _body(shown, details, view, columns, left)
    lines = [*top, *body[: max(0, left)]]
    lines += [[] for _ in range(rows - 1 - len(lines))]
    return [fitted(line, columns) for line in [*lines[: rows - 1], foot]][-rows:]


def _body(shown: Sequence[Row], details: Details | None, view: View, columns: int, height: int) -> list[Line]:
    if not shown:
        return [[("no apps" if not view.filter else "no app matches the filter", "dim")]]
    at = index_of(view, [row.name for row in shown])
    selected = shown[at]
    if view.logs:
        return log_screen(selected.name, details, view, columns, height)
    if not view.details:
        below = _full_message(selected, shown, columns, view.sort) if height > 8 else []
        table = _table(shown, at, view, columns, height - len(below))
        return [*table, *([[] for _ in range(height - len(table) - len(below))] if below else []), *below]
    table = _table(shown, at, view, columns, min(len(shown) + 1, max(_LEAST_BODY, height // 4) + 1))
    current = details if details is not None and (details.name, details.log) == (selected.name, view.log) else None
    return [*table, *details_of(selected, current, view.log, columns, height - len(table))]


def _table(shown: Sequence[Row], at: int, view: View, width: int, height: int) -> list[Line]:
    """Return the head and as many rows as there is room for, the selected one among them."""
    columns = fitting(shown, width - GAP, view.sort)
    room = max(1, height - 1)
    first = max(0, min(at - room // 2, len(shown) - room))
    mark = {view.sort: f"{view.sort} {'▲' if view.reverse else '▼'}"}
    titles = (cell(mark.get(c.name, c.name), wide, right=c.right) for c, wide in columns)
    head: Line = [("  ", ""), (_gapped(titles), "bold")]
    body = [_row(row, columns, width, selected=first + n == at) for n, row in enumerate(shown[first : first + room])]
    return [head, *body]


def _row(row: Row, columns: Sequence[tuple[Column, int]], width: int, *, selected: bool) -> Line:
    cells = [(column, _cell(column, row, wide)) for column, wide in columns]
    if selected:
        return [(padded("▸ " + _gapped(text for _, text in cells), width), "selected")]
    line: Line = [("  ", "")]
    for number, (column, text) in enumerate(cells):
        line += [(" " * GAP * (number > 0), ""), (text, row.state if column.name == "STATE" else "")]
    return line


def _cell(column: Column, row: Row, wide: int) -> str:
    text = column.cell(row)
    return cell(shortened(text, wide) if column.name == "MESSAGE" else text, wide, right=column.right)


def _full_message(row: Row, shown: Sequence[Row], width: int, sort: str) -> list[Line]:
    """Return the selected app's message if the table had to cut it."""
    columns = {column.name: wide for column, wide in fitting(shown, width - GAP, sort)}
    if not row.message or cell_count(row.message) <= columns.get("MESSAGE", 0):
        return []
    text = row.message if row.label in row.message else f"{row.label}: {row.message}"
    return paragraph(text, width, row.state, most=4)


def _title(facts: Facts, view: View, shown: int) -> Line:
    apps = facts.status.apps
    states = Counter(app.state for app in apps)
    pid = facts.status.daemon
    line: Line = [(f"daemon {pid}" if pid else "no daemon", "dim" if pid else "bad"), ("  ·  ", "dim")]
    if view.filter:
        line += [(f"{shown} with '{view.filter}'", "bold"), ("  ·  ", "dim")]
    line.append((counted(len(apps), "app"), "bold"))
    for number, state in enumerate(state for state in WORST_FIRST if states[state]):
        line += [(": " if number == 0 else ", ", ""), (f"{states[state]} {state}", state)]
    return line


def _notes(facts: Facts, width: int, most: int) -> Iterator[Line]:
    """Yield what concerns the host, its manifests and its services, each in at most so many lines."""
    status = facts.status
    notes = [facts.failure, status.notice or ""]
    notes += [
        f"refused: {Path(entry['file']).name}:{error['line']}:{error['column']}: {error['message']}"
        for entry in status.manifests
        for error in entry["errors"][:1]
    ]
    notes += [f"service {service.name}: {service.state}: {service.message}" for service in _not_ready(status)]
    for note in filter(None, [*notes, status.without_daemon]):
        yield from paragraph(shortened(note, most * (width - 4)), width, "bad", most=most)


def _not_ready(status: "HostStatus") -> "list[ServiceRow]":
    return [service for service in status.services if service.state not in {"ready", "retained"}]


def _foot(facts: Facts, view: View, width: int) -> Line:
    if view.typing:
        return [("filter: ", "bold"), (view.filter, ""), ("█", ""), ("   Enter: apply, Esc: clear", "dim")]
    if view.help:
        return [("press any key to return", "dim")]
    if view.question is not None:
        return _question(view.question, width)
    if view.notice:
        return [(shortened(view.notice, width), "bold")]
    if view.logs:
        return [(_IN_LOGS, "dim")]
    services = facts.status.services
    waiting = len(_not_ready(facts.status))
    ready = f"{waiting} not ready" if waiting else "ready" if len(services) == 1 else "all ready"
    summary = f"  ·  {counted(len(services), 'service')}, {ready}" if services else ""
    hint = _IN_DETAILS if view.details else _HINT
    return [(hint + summary if cell_count(hint + summary) <= width else hint, "dim")]


def _question(request: AppRequest, width: int) -> Line:
    keys = "   y: yes, any other key: no"
    asked = f"Stop {request.app} until 'start' or its next edit?"
    return [(shortened(asked, width - len(keys)), "bad"), (keys, "bold")]


def _gapped(cells: "Iterator[str]") -> str:
    return (" " * GAP).join(cells)
