"""The row of an app on the page: its texts, its mark and its links, for the first rendering and for every update."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from typing import Any, cast
from urllib.parse import quote

from reconciler.control.requests import offered_for
from reconciler.inspection.canary_share import state_of
from reconciler.inspection.printable import workers_of
from reconciler.inspection.status import places
from reconciler.linux.dataclass import dataclass
from reconciler.metrics.load_history import Load
from reconciler.planning.origins.plan import OriginState
from reconciler.planning.states import APP_STATES, AppState, DomainState
from reconciler.web.app_links import Viewer
from reconciler.web.formatting import duration, line, percent, rate, size
from reconciler.web.status_cache import Status
from reconciler.web.timeline import sparkline

_MARKS: Mapping[AppState, str] = {
    "failing": "triangle", "degraded": "diamond", "invalid": "cross", "pending": "ring", "staging": "ring",
    "starting": "ring", "stopping": "ring", "running": "disc", "sleeping": "moon", "maintenance": "bars",
    "canary": "disc", "stopped": "square",
}  # fmt: skip
# The mark of each state, worst first, so that colour alone distinguishes none.
STATES: Mapping[str, str] = {state.name: _MARKS[cast("AppState", state.name)] for state in APP_STATES}
# The state of an app whose mark and colour a service's state has.
SERVICE_MARKS: Mapping[str, str] = {"ready": "running", "retained": "stopped"} | {
    state: state for state in ("pending", "starting", "stopping", "degraded", "failing", "invalid")
}
# The same of an origin in git.
ORIGIN_MARKS: Mapping[OriginState, AppState] = {
    "pending": "pending", "current": "running", "refused": "degraded", "rewound": "degraded", "missing": "degraded",
    "held": "degraded", "returned": "degraded", "unreachable": "failing", "stale": "failing", "paused": "maintenance",
    "trial": "maintenance", "waiting": "pending",
}  # fmt: skip
# The same of a domain.
DOMAIN_MARKS: Mapping[DomainState, AppState] = {
    "served": "running", "pending": "pending", "unpublished": "failing", "unserved": "failing",
    "expiring": "degraded", "expired": "failing",
}  # fmt: skip
# In place of what takes two measurements: a cell that appeared with the second would move those beside it.
_NOT_YET = "-"
_TROUBLES = ("failing", "degraded", "invalid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One app. `cells` are texts by the name of their place on the page, `values` that by which a column sorts."""

    name: str
    cells: Mapping[str, str]
    state: str
    mark: str
    url: str | None
    next_try_at: float | None
    since: float | None
    memory_line: str
    cpu_line: str
    hint: str = ""
    offered: tuple[str, ...] = ()
    values: Mapping[str, float | str | None] = field(default_factory=dict, compare=False)

    @property
    def rank(self) -> int:
        """Where the row stands: apps in trouble come first, the worst of them on top."""
        return _rank(self.state)

    def live(self) -> dict[str, Any]:
        """Return what the page's script needs to update the row."""
        return {
            "cells": dict(self.cells), "state": self.state, "mark": self.mark, "url": self.url, "hint": self.hint,
            "rank": self.rank,
            "page": f"/apps/{quote(self.name, safe='')}", "next": self.next_try_at,
            "memory_line": self.memory_line, "cpu_line": self.cpu_line,
        }  # fmt: skip


def row(app: Mapping[str, Any], status: Status, viewer: Viewer) -> Row:
    """Return the row of one app of the status, with a link that the viewer can follow."""
    link = viewer.link(app["url"])
    load = status.loads.get(app["name"])
    revision, wanted = app["revision"], app["wanted_revision"]
    state = str(app["state"])
    cells = {
        "state": state_of(state, app.get("canary_share")),
        "message": app["message"] or "",
        "address": places(app["url"], app["port_url"], app["wanted_url"]),
        "revision": revision or wanted or "",
        "wanted": wanted if wanted and revision and wanted != revision else "",
        "runtime": app["runtime"] or "",
        "workers": workers_of(app["workers"], app.get("worker_range")) if app["workers"] else "",
        "cpu": (percent(load.cpu) or _NOT_YET) if load else "",
        "memory": size(load.memory) if load else "",
        "rate": (rate(load.requests) or _NOT_YET) if load else "",
        "queue": _queue(load),
        "restarts": app["restarts"] or "0",
        "user": str(app.get("user") or ("the daemon's" if app["pid"] else "")),
    }
    return Row(
        name=str(app["name"]),
        cells={name: line(text) for name, text in cells.items()},
        state=_state(app),
        mark=STATES.get(state, "ring"),
        url=link.url,
        hint=link.hint,
        next_try_at=app["next_try_at"],
        since=app["since"],
        memory_line=sparkline(load.memory_history) if load else "",
        cpu_line=sparkline(load.cpu_history) if load else "",
        offered=offered_for(app),
        values={
            "app": str(app["name"]),
            "state": list(STATES).index(state) if state in STATES else None,
            "revision": cells["revision"] or None,
            "workers": app["workers"],
            "cpu": load.cpu if load else None,
            "memory": load.memory if load else None,
            "rate": load.requests if load else None,
            "restarts": app["restarts"] or 0,
        },
    )


def _queue(load: Load | None) -> str:
    """Return how many connections wait for a worker, and how long; empty if none does."""
    if load is None or not load.queue:
        return ""
    return f"{load.queue} wait{f' {duration(load.wait_s)}' if load.wait_s else ''}"


def rows(status: Status, viewer: Viewer) -> list[Row]:
    """Return the row of every app: those in trouble, then all others by name."""
    return list(each_row(status, viewer))


def each_row(status: Status, viewer: Viewer) -> Iterator[Row]:
    """Yield the row of every app in the same order, each made when it is asked for."""
    for app in sorted(status.apps, key=lambda app: (_rank(_state(app)), str(app["name"]))):
        yield row(app, status, viewer)


def counts(apps: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return the number of apps in each state that occurs, the worst first."""
    found = Counter(map(_state, apps))
    return {state: found[state] for state in STATES if found[state]}


def _state(app: Mapping[str, Any]) -> str:
    state = str(app["state"])
    return state if state in STATES else "pending"


def _rank(state: str) -> int:
    return _TROUBLES.index(state) if state in _TROUBLES else len(_TROUBLES)


# The page's script makes the row of a new app from it.
BLANK = Row(
    name="", cells=dict.fromkeys(("state", "message", "address", "revision", "wanted", "runtime", "workers", "cpu",
                                  "memory", "rate", "queue", "restarts", "user"), ""),
    state="pending", mark="ring", url=None, next_try_at=None, since=None, memory_line="", cpu_line="",
)  # fmt: skip
