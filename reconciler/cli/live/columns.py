"""Filter and sort the apps of the live screen, and choose the columns that fit its width."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from reconciler.cli.live.cells import cell_count
from reconciler.cli.live.facts import Facts
from reconciler.cli.live.selection import View
from reconciler.inspection.canary_share import state_of
from reconciler.inspection.printable import ago, megabytes, plain, short, workers_of
from reconciler.linux.dataclass import dataclass
from reconciler.planning.states import WORST_FIRST

if TYPE_CHECKING:
    from reconciler.inspection.status import AppRow
    from reconciler.metrics.rates import Rate

GAP = 2
_SEVERITY = {state: number for number, state in enumerate(WORST_FIRST)}
_LEAST_MESSAGE = 32
_WIDEST_NAME = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An app's status and load at wall-clock second `at`; `name` identifies it and is not fit to print."""

    app: "AppRow"
    rate: "Rate | None"
    at: float

    @property
    def name(self) -> str:
        return self.app.name

    @property
    def state(self) -> str:
        return self.app.state

    @property
    def label(self) -> str:
        """The name, printable."""
        return plain(self.app.name)

    @property
    def message(self) -> str:
        """The message, printable."""
        return plain(self.app.message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column. `order` is what rows are sorted by, smallest first; None comes last in either direction."""

    name: str
    cell: Callable[[Row], str]
    order: Callable[[Row], Any]
    right: bool = False


def _of_rate(cell: "Callable[[Rate], str]") -> Callable[[Row], str]:
    return lambda row: "-" if row.rate is None else cell(row.rate)


def _queue(rate: "Rate") -> str:
    """Return how many connections wait for a worker, and how long if they do."""
    if rate.queue is None:
        return "-"
    return f"{rate.queue} ({short(rate.wait_s)})" if rate.queue and rate.wait_s else str(rate.queue)


def _busiest(of: "Callable[[Rate], float]") -> Callable[[Row], float | None]:
    return lambda row: None if row.rate is None else -of(row.rate)


def _revision(row: Row) -> str:
    serving, wanted = row.app.revision, row.app.wanted_revision
    return f"{serving or '-'} → {wanted}" if wanted and wanted != serving else serving or "-"


def _wait_s(row: Row) -> float | None:
    at = row.app.next_try_at
    return None if not at else max(0.0, at - row.at)


def _next_try(row: Row) -> str:
    wait_s = _wait_s(row)
    return "-" if wait_s is None else ago(wait_s)


def _since(row: Row) -> str:
    return ago(row.at - row.app.since) if row.app.since else "-"


def _url(row: Row) -> str:
    return row.app.places or "-"


def _workers(row: Row) -> str:
    return workers_of(row.app.workers, row.app.worker_range) if row.app.workers else "-"


def _severity(row: Row) -> int:
    return _SEVERITY.get(row.state, len(_SEVERITY))


COLUMNS = (
    Column(name="APP", cell=lambda row: row.label, order=lambda row: row.name),
    Column(name="STATE", cell=lambda row: state_of(row.state, row.app.canary_share), order=_severity),
    Column(name="URL", cell=_url, order=lambda row: row.app.url),
    Column(name="REVISION", cell=_revision, order=lambda row: row.app.revision),
    Column(name="RUNTIME", cell=lambda row: row.app.runtime or "-", order=lambda row: row.app.runtime),
    Column(
        name="WORKERS", cell=_workers, order=lambda row: -row.app.workers, right=True,
    ),
    Column(
        name="MEMORY", cell=_of_rate(lambda rate: megabytes(rate.memory)),
        order=_busiest(lambda rate: rate.memory), right=True,
    ),
    Column(
        name="CPU", cell=_of_rate(lambda rate: f"{rate.cpu * 100:.0f}%"), order=_busiest(lambda rate: rate.cpu),
        right=True,
    ),
    Column(
        name="REQ/S", cell=_of_rate(lambda rate: f"{rate.requests:.1f}"), order=_busiest(lambda rate: rate.requests),
        right=True,
    ),
    Column(
        name="QUEUE", cell=_of_rate(_queue), order=_busiest(lambda rate: rate.queue or 0), right=True,
    ),
    Column(
        name="RESTARTS", cell=lambda row: str(row.app.restarts), order=lambda row: -row.app.restarts,
        right=True,
    ),
    Column(name="SINCE", cell=_since, order=lambda row: -row.app.since if row.app.since else None, right=True),
    Column(name="NEXT TRY", cell=_next_try, order=_wait_s, right=True),
    Column(name="MESSAGE", cell=lambda row: row.message, order=lambda row: row.message or None),
)  # fmt: skip
# The columns that a narrow screen leaves out, first to last.
_SPARE = (
    "RUNTIME", "REVISION", "SINCE", "WORKERS", "URL", "NEXT TRY", "RESTARTS", "QUEUE", "CPU", "MEMORY", "REQ/S",
    "MESSAGE",
)  # fmt: skip


def rows_of(facts: Facts, view: View) -> list[Row]:
    """Return the apps that match the filter, in the chosen order."""
    wanted = view.filter.casefold()
    rows = [Row(app=app, rate=facts.rates.get(app.name) if app.pid else None, at=facts.at) for app in facts.status.apps]
    rows = [row for row in rows if wanted in f"{row.name}\n{row.state}\n{row.message}".casefold()]
    column = next(column for column in COLUMNS if column.name == view.sort)
    rows.sort(key=lambda row: row.name)
    ordered = [(order, row) for row in rows if (order := column.order(row)) is not None]
    ordered.sort(key=lambda pair: pair[0], reverse=view.reverse)
    return [*(row for _, row in ordered), *(row for row in rows if column.order(row) is None)]


def fitting(rows: Sequence[Row], width: int, sort: str) -> list[tuple[Column, int]]:
    """Return the columns that fit, each with its width; the last one gets what is left."""
    columns = list(COLUMNS)
    widths = {
        c.name: max([len(c.name) + 2 * (c.name == sort), *(cell_count(plain(c.cell(row))) for row in rows)])
        for c in columns
    }
    widths["APP"] = min(widths["APP"], max(_WIDEST_NAME, width // 4))
    widths["MESSAGE"] = _LEAST_MESSAGE
    for name in _SPARE:
        if sum(widths[c.name] + GAP for c in columns) - GAP <= width:
            break
        columns = [c for c in columns if c.name != name]
    if columns[-1].name == "MESSAGE":
        widths["MESSAGE"] = width - sum(widths[c.name] + GAP for c in columns[:-1])
    return [(c, widths[c.name]) for c in columns]
