"""All there is to say about one app, in as many lines as there are: facts, message, plan, last events, end of a log."""

from pathlib import Path

from rich.cells import cell_len

from reconciler.cli.live.columns import COLUMNS, Row
from reconciler.cli.live.facts import Details
from reconciler.cli.live.line import Line, block, said
from reconciler.cli.live.selection import LOGS
from reconciler.inspection.printable import plain

_TITLED = {"WORKERS": "workers", "MEMORY": "memory", "CPU": "cpu", "REQ/S": "req/s", "RESTARTS": "restarts",
           "NEXT TRY": "next try in", "REVISION": "revision"}  # fmt: skip
_MOST_PLAN = 6


def details_of(row: Row, details: Details | None, log: str, width: int, height: int) -> list[Line]:
    """The pane; `details` is None until they have been looked up. At most `height` lines."""
    lines: list[Line] = [[(_rule(row.name, width), "bold")]]
    lines += said(_facts(row), width, most=2 if height < 20 else 4)
    if row.message:
        lines += said(row.message, width, row.state, most=2 if height < 20 else 5)
    if details is None:
        return [*lines, [("looking …", "dim")]][: max(0, height)]
    lines += _plan(details, width, most=2 if height < 20 else _MOST_PLAN)
    left = height - len(lines) - 2  # two titles
    events = [plain(text) for text in details.events][-max(1, left * 2 // 5) :]
    lines += block("events", events or ["nothing happened to it yet"], width)
    others = "  ".join(f"[{each}]" if each == log else each for each in LOGS)
    room = max(0, left - max(1, len(events)))
    said_last = [plain(text) for text in details.lines][-room:] if room else []
    lines += block(f"log  {others}", said_last or ["nothing was written to it"], width)
    return lines[: max(0, height)]


def _rule(name: str, width: int) -> str:
    told = f"── {plain(name)} "
    return told + "─" * max(0, width - cell_len(told))


def _facts(row: Row) -> str:
    cells = {column.name: plain(column.cell(row)) for column in COLUMNS}
    told = [row.state + (f" for {cells['SINCE']}" if cells["SINCE"] != "-" else "")]
    told += [cells[name] for name in ("URL", "RUNTIME") if cells[name] != "-"]
    told += [f"{title} {cells[name]}" for name, title in _TITLED.items() if cells[name] != "-"]
    told += [f"pid {row.app['pid']}"] if row.app["pid"] else []
    told += [f"services {plain(', '.join(row.app['services']))}"] if row.app["services"] else []
    told += [f"manifest {plain(Path(row.app['manifest']).name)}"] if row.app["manifest"] else []
    return " · ".join(told)


def _plan(details: Details, width: int, *, most: int) -> list[Line]:
    if details.plan is None:
        return [[("plan", "bold"), ("  looking …", "dim")]]
    if not details.plan:
        return [[("plan", "bold"), ("  nothing to do: it is as asked", "")]]
    told = [line for text in details.plan for line in said(plain(text), width, most=2, indent=2)]
    more: list[Line] = [[(f"  … and {len(told) - most + 1} more lines ('reconciler plan' says all)", "dim")]]
    return [[("plan", "bold")], *(told if len(told) <= most else [*told[: most - 1], *more])]
