"""What is known of every domain, beside the proxy's directory on the disk, for commands that run without the daemon."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from reconciler.linux.files import replace_file
from reconciler.linux.regular_files import read_record
from reconciler.planning.routing.observed import ObservedProxy
from reconciler.planning.routing.plan import Routes, published
from reconciler.planning.routing.route import Front, Route
from reconciler.planning.states import DomainState

_MOST = 16 * 1024 * 1024


class DomainRow(NamedTuple):
    """One name. `ends_at` is when its certificate expires, wall-clock seconds; `below` the path that the app has there.

    `leads_to` is the URL that a name is redirected to, empty for one that the app serves.
    """

    name: str
    app: str
    below: str
    state: DomainState
    message: str = ""
    url: str = ""
    leads_to: str = ""
    issuer: str = ""
    ends_at: float | None = None


def rows_of(asked: Routes, observed: ObservedProxy, names: frozenset[str], failure: str) -> Iterator[DomainRow]:
    """Yield a row for each name; `names` are those that the proxy has, `failure` is why it cannot be told of others."""
    gets = {route.app for route in published(asked, observed)}
    reached = {**observed.upstreams, **observed.entries}
    for route in asked.routes:
        if not route.upstream and route.app not in reached:
            continue  # it is in a cluster that the proxy does not lead to
        for name in route.routing.names:
            row = _row(asked.front, route, name)._replace(message=observed.lacking.get(route.app, ""))
            files = observed.files.get(route.app)
            if files is not None and files.problem:
                yield row._replace(state="unpublished", message=files.problem)
            elif name not in names or route.app not in gets:
                yield row._replace(state="unpublished" if failure else "pending", message=failure)
            elif name.startswith("*."):
                yield row._replace(state="served")
            elif (answer := observed.answers.get(name)) is not None:
                message = answer.message or row.message
                yield row._replace(state=answer.state, message=message, issuer=answer.issuer, ends_at=answer.ends_at)
            else:
                yield row


def _row(front: Front, route: Route, name: str) -> DomainRow:
    routing = route.routing
    tls = routing.tls != "off"
    return DomainRow(
        name=name,
        app=route.app,
        below=routing.below if name in routing.domains else "/",
        state="pending",
        url=front.url(name, tls=tls),
        leads_to=front.url(routing.domains[0], tls=tls) if name in routing.redirects else "",
    )


class DomainRecord:
    """The file of all rows; written only when they change, and gone with the last domain."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._written: tuple[DomainRow, ...] | None = None

    def write(self, rows: tuple[DomainRow, ...]) -> None:
        """Store the rows; a full disk costs only how recent they are."""
        if rows == self._written:
            return
        with suppress(OSError):
            if rows:
                replace_file(self._file, json.dumps([row._asdict() for row in rows]), durable=False)
            else:
                self._file.unlink(missing_ok=True)
        self._written = rows


def recorded(file: Path) -> Sequence[DomainRow]:
    """Return the rows as the daemon has stored them last, none if it has none."""
    with suppress(OSError, ValueError, TypeError):
        found: list[dict[str, Any]] = read_record(file, _MOST)
        return [DomainRow(**row) for row in found]
    return []
