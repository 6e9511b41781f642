"""The state of every process of an app that is not web, as the commands, the page and the API show it."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from reconciler.inspection.snapshot import HostSnapshot
from reconciler.planning.fingerprint import Json
from reconciler.state.records import InstanceRecord

_NOT_OBSERVED = "the daemon has not looked at it yet"
# The aspect of an app's history that the World of processes writes.
ASPECT = "processes"


class ProcessRow(NamedTuple):
    """One process. `desired` is how many should run, `running` how many are up; `pids` are of those that run.

    `draining` is how many finish their work, the oldest of them since `draining_since`; at `draining_until` the last of
    them is killed. `crashes` is how many there
    were in a row. Times are wall-clock seconds.
    """

    name: str
    state: str = "pending"
    reason: str = ""
    message: str = _NOT_OBSERVED
    desired: int = 0
    running: int = 0
    starting: int = 0
    draining: int = 0
    draining_since: float | None = None
    draining_until: float | None = None
    crashes: int = 0
    pids: Sequence[int] = ()
    since: float | None = None
    next_try_at: float | None = None

    def facts(self) -> dict[str, Json]:
        """Return the row as JSON data."""
        return {**{name: getattr(self, name) for name in self._fields}, "pids": [*self.pids]}


def process_rows(
    desired: Mapping[str, int], remembered: str | None, snapshot: HostSnapshot, app: str
) -> list[ProcessRow]:
    """Return the processes of an app: desired, by their number, or still there; `remembered` is what was reported."""
    known, supervised = _known(remembered), snapshot.daemon is not None
    by_name: dict[str, list[InstanceRecord]] = {}
    for record in snapshot.processes.get(app, ()):
        by_name.setdefault(record.process, []).append(record)
    names = sorted({*desired, *known, *by_name})
    return [_row(name, desired.get(name), known.get(name), by_name.get(name, []), supervised) for name in names]


def _known(remembered: str | None) -> dict[str, dict[str, Any]]:
    try:
        found = {} if remembered is None else json.loads(remembered)["processes"]
        return {str(name): each["status"] or {} for name, each in found.items()}
    except (KeyError, TypeError, ValueError, AttributeError):  # written by another version
        return {}


def _patience_s(record: InstanceRecord) -> float:
    from reconciler.planning.processes.stop import parsed  # few processes are being stopped

    sequence = parsed(record.stop)
    return record.stop_timeout_s if sequence is None else sequence.kill_after_s


def _row(
    name: str, count: int | None, last: Mapping[str, Any] | None, records: Sequence[InstanceRecord], supervised: bool
) -> ProcessRow:
    running = [record for record in records if record.stopping_since is None]
    draining = [record.stopping_since for record in records if record.stopping_since is not None]
    ends = [record.stopping_since + _patience_s(record) for record in records if record.stopping_since is not None]
    since_boot = time.time() - time.monotonic()  # noqa: TID251  shown
    row = ProcessRow(
        name=name,
        desired=count or 0,
        running=sum(1 for record in running if record.ready_at is not None),
        starting=sum(1 for record in running if record.ready_at is None),
        draining=len(draining),
        draining_since=since_boot + min(draining) if draining else None,
        draining_until=since_boot + max(ends) if ends else None,
        pids=[record.pid for record in running if record.pid is not None],
    )
    if not last:
        return row
    return row._replace(
        state=str(last.get("state", row.state)),
        reason=str(last.get("reason", "")),
        message=str(last.get("message", "")),
        crashes=int(last.get("crashes", 0)),
        desired=row.desired if count is None or last.get("desired") is None else int(last["desired"]),
        since=last.get("since"),
        next_try_at=last.get("next_try_at") if supervised else None,
    )
