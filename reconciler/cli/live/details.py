"""Render the details pane of one app: facts, message, plan, recent events, and the end of a log."""

from pathlib import Path

from reconciler.cli.live.cells import cell_count
from reconciler.cli.live.columns import COLUMNS, Row
from reconciler.cli.live.facts import Details
from reconciler.cli.live.line import Line, block, paragraph
from reconciler.cli.live.selection import LOGS
from reconciler.inspection.printable import plain

_TITLED = {"WORKERS": "workers", "MEMORY": "memory", "CPU": "cpu", "REQ/S": "req/s", "RESTARTS": "restarts",
           "NEXT TRY": "next try in", "REVISION": "revision"}  # fmt: skip
_OVERRIDDEN = {kind: f"{kind} by an operator" for kind in ("stopped", "maintenance", "rolled back")}
_MOST_PLAN = 6


def details_of(row: Row, details: Details | None, log: str, width: int, height: int) -> list[Line]:
    """Return at most `height` lines; `details` is None until they are known."""
    lines: list[Line] = [[(_rule(row.label, width), "bold")]]
    lines += paragraph(_facts(row), width, most=2 if height < 20 else 4)
    if row.message:
        lines += paragraph(row.message, width, row.state, most=2 if height < 20 else 5)
    if details is None:
        return [*lines, [("loading …", "dim")]][: max(0, height)]
    lines += _plan(details, width, most=2 if height < 20 else _MOST_PLAN)
    left = height - len(lines) - 2  # two titles
    events = details.events[-max(1, left * 2 // 5) :]
    lines += block("events", events or ["no events yet"], width)
    others = "  ".join(f"[{each}]" if each == log else each for each in LOGS)
    room = max(0, left - max(1, len(events)))
    tail = details.lines[-room:] if room else ()
    lines += block(f"log  {others}", tail or ["the log is empty"], width)
    return lines[: max(0, height)]


def _rule(name: str, width: int) -> str:
    title = f"── {name} "
    return title + "─" * max(0, width - cell_count(title))


def _facts(row: Row) -> str:
    cells = {column.name: plain(column.cell(row)) for column in COLUMNS}
    facts = [cells["STATE"] + (f" for {cells['SINCE']}" if cells["SINCE"] != "-" else "")]
    facts += [cells[name] for name in ("URL", "RUNTIME") if cells[name] != "-"]
    facts += [f"{title} {cells[name]}" for name, title in _TITLED.items() if cells[name] != "-"]
    facts += [f"pid {row.app.pid}"] if row.app.pid else []
    facts += [f"services {', '.join(row.app.services)}"] if row.app.services else []
    facts += [f"manifest {Path(row.app.manifest).name}"] if row.app.manifest else []
    facts += [_OVERRIDDEN[row.app.override.kind]] if row.app.override else []
    return " · ".join(facts)


def _plan(details: Details, width: int, *, most: int) -> list[Line]:
    if details.plan is None:
        return [[("plan", "bold"), ("  loading …", "dim")]]
    if not details.plan:
        return [[("plan", "bold"), ("  nothing to do: up to date", "")]]
    lines = [line for text in details.plan for line in paragraph(text, width, most=2, indent=2)]
    more: list[Line] = [[(f"  … and {len(lines) - most + 1} more lines ('reconciler plan' shows all)", "dim")]]
    return [[("plan", "bold")], *(lines if len(lines) <= most else [*lines[: most - 1], *more])]
