"""One look at the state directory for all who are watching: taken when something changed, and kept for a moment.

SQLite says for next to nothing whether anything was written (PRAGMA data_version), so that watching a host where
nothing happens costs next to nothing.
"""

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.inspection.snapshot import HostSnapshot
from reconciler.linux.processes import start_ticks
from reconciler.metrics.load import Load, Loads
from reconciler.metrics.rates import Requests
from reconciler.planning.subject import Subject
from reconciler.settings.settings import Settings
from reconciler.state.journal import Event, Journal
from reconciler.state.schema import OtherVersion, open_database

_FRESH_S = 0.5
_STALE_S = 5.0


class StateUnreadable(Exception):
    """The state directory cannot be read just now, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What was seen: `status` as `status --json` prints it; loads and requests a second by app.

    `up_s` is how long the daemon has run, None when none does; `last_event` the newest event's number.
    """

    status: Mapping[str, Any]
    loads: Mapping[str, Load]
    rates: Mapping[str, float]
    up_s: float | None
    last_event: int

    @property
    def apps(self) -> Sequence[Mapping[str, Any]]:
        found: Sequence[Mapping[str, Any]] = self.status["apps"]
        return found

    def app(self, name: str) -> Mapping[str, Any] | None:
        """One app's line of the status."""
        return next((row for row in self.apps if row["name"] == name), None)


class StatusCache:
    """Sightings and events of one state directory; raises CannotLook."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._loads = Loads()
        self._requests = Requests(settings.paths)
        self._database: sqlite3.Connection | None = None
        self._version = -1
        self._seen_at = float("-inf")
        self._seen: Status | None = None
        self._looking: asyncio.Task[Status] | None = None

    async def now(self) -> Status:
        """The state of things, no older than half a second; the very same object while nothing changes."""
        age_s = time.monotonic() - self._seen_at
        if self._seen is not None and (age_s < _FRESH_S or (age_s < _STALE_S and not self._is_written())):
            return self._seen
        if self._looking is None:
            self._version = self._read_version()
            self._looking = asyncio.create_task(asyncio.to_thread(self._look))
            self._looking.add_done_callback(self._looked)
        return await asyncio.shield(self._looking)

    async def events(self, app: str | None, count: int, after: int = 0) -> Sequence[Event]:
        """The newest events with a number over `after`, oldest of them first."""
        return await asyncio.to_thread(self._events, app, count, after)

    def _looked(self, task: "asyncio.Task[Status]") -> None:
        self._looking = None
        if not task.cancelled() and task.exception() is None:
            self._seen, self._seen_at = task.result(), time.monotonic()

    def _is_written(self) -> bool:
        return self._read_version() != self._version

    def _read_version(self) -> int:
        """A number that changes whenever the database does; another each time when that cannot be known."""
        try:
            if self._database is None:
                self._database = open_database(self.settings.paths.database, read_only=True)
            (version,) = self._database.execute("PRAGMA data_version").fetchone()
        except (sqlite3.Error, OtherVersion):
            if self._database is not None:
                self._database.close()
                self._database = None
            return self._version - 1
        return int(version)

    def _look(self) -> Status:
        with _reading(self.settings), contextlib.closing(HostSnapshot(self.settings.paths)) as snapshot:
            status = snapshot.status()
            masters = {name: [r.pid for r in records if r.pid] for name, records in snapshot.instances.items()}
            loads = self._loads.look(masters)
        newest = self._events(None, 1, 0)
        return Status(
            status=status,
            loads=loads,
            rates=self._requests.per_second(masters),
            up_s=_up_s(status["daemon"]["pid"]),  # type: ignore[index,call-overload,arg-type]
            last_event=newest[-1].id if newest else 0,
        )

    def _events(self, app: str | None, count: int, after: int) -> Sequence[Event]:
        with (
            _reading(self.settings),
            contextlib.closing(open_database(self.settings.paths.database, read_only=True)) as database,
        ):
            return Journal(database).newest(Subject("app", app) if app else None, count, after)


@contextlib.contextmanager
def _reading(settings: Settings) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, OtherVersion) as error:
        raise StateUnreadable(f"cannot read {settings.paths.state}: {error}") from error


def _up_s(pid: int | None) -> float | None:
    ticks = start_ticks(pid) if pid else None
    if ticks is None:
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
