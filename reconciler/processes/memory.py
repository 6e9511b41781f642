"""What outlives the daemon about processes besides instances: crashes, an operator's requests, what was reported."""

import contextlib
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, field, replace
from typing import Any

from reconciler.convergence.world import Report
from reconciler.linux.dataclass import dataclass
from reconciler.planning.processes.observed import Crash
from reconciler.planning.processes.process import key_of, parts_of
from reconciler.state.records import Records

# The aspect of an app's history that holds this, and what `status` reads of it.
ASPECT = "processes"
_MOST_GIVEN = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """The last reported status of a process. `since` and `next_try_at` are wall-clock seconds."""

    state: str
    message: str
    since: float
    reason: str = ""
    next_try_at: float | None = None
    crashes: int = 0
    desired: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    crashes: Mapping[int, Crash] = field(default_factory=dict)
    stopped: str = ""
    restart_before: float | None = None
    status: ProcessStatus | None = None
    given: tuple[str, ...] = ()


_NOTHING = _Known()


class ProcessMemory:
    """What is known of every process, by `APP/PROCESS`. If the disk is full, changes are kept in memory only."""

    def __init__(self, records: Records, boot: str) -> None:
        self._records = records
        self._boot = boot
        self._known: dict[str, _Known] = {}
        self._crash_counts: Counter[str] = Counter()
        for app, text in records.history_of(ASPECT).items():
            with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):  # written by another version
                stored = json.loads(text)
                for process, data in stored["processes"].items():
                    self._known[key_of(app, process)] = _read(data, same_boot=stored["boot"] == boot)

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def names(self) -> frozenset[str]:
        """Return every process of which anything is known."""
        return frozenset(self._known)

    def crashes(self, name: str) -> Mapping[int, Crash]:
        """Return the last crash of each number of a process."""
        return self._of(name).crashes

    def stopped(self, name: str) -> str:
        """Return the fingerprint of the process that an operator stopped, "" if none did."""
        return self._of(name).stopped

    def restart_before(self, name: str) -> float:
        """Return when an operator last asked for a restart, in monotonic seconds of this boot."""
        asked = self._of(name).restart_before
        return float("-inf") if asked is None else asked

    def status(self, name: str) -> ProcessStatus | None:
        """Return what was last reported of a process."""
        return self._of(name).status

    def given(self, app: str | None = None) -> frozenset[str]:
        """Return the ids of the secrets that processes of an app, or of all, were given of late."""
        found = (known for name, known in self._known.items() if app is None or parts_of(name)[0] == app)
        return frozenset(kept for known in found for kept in known.given)

    def give(self, name: str, secrets: Iterable[str]) -> None:
        """Record the ids of secrets before an instance has them: it may print them long after there are newer ones."""
        before = self._of(name).given
        new = tuple(kept for kept in secrets if kept not in before)
        if new:
            self._keep(name, given=(*before, *new)[-max(_MOST_GIVEN, len(new)) :])

    def crashed(self, name: str, slot: int, crash: Crash) -> None:
        """Record the crash of one number."""
        self._keep(name, crashes={**self.crashes(name), slot: crash})

    def count_crash(self, name: str) -> None:
        """Count a crash of something that ran."""
        self._crash_counts[name] += 1

    def crash_count(self, name: str) -> int:
        """Return how often a process has crashed since this daemon began."""
        return self._crash_counts[name]

    def stop(self, name: str, fingerprint: str) -> None:
        """Record that an operator stopped what has this fingerprint, or "" that it may run again."""
        self._keep(name, stopped=fingerprint)

    def restart(self, name: str, at: float) -> None:
        """Record that an operator asked for a restart: it is carried out whichever daemon finishes it."""
        self._keep(name, restart_before=at)

    def report(self, name: str, report: Report, crashes: int, desired: int | None = None) -> bool:
        """Record a report; return whether it differs from the last one.

        `desired` is how many of it are to run, if what waits for it says that.
        """
        before, now = self.status(name), time.time()  # noqa: TID251  shown to people, never subtracted
        next_try_at = None if report.next_try_at is None else now + report.next_try_at - time.monotonic()
        status = ProcessStatus(
            state=report.state,
            message=report.message,
            since=before.since if before is not None and before.state == report.state else now,
            reason=str(report.reason),
            next_try_at=None if next_try_at is None else round(next_try_at, 1),
            crashes=crashes,
            desired=desired,
        )
        if status == before:
            return False
        self._keep(name, status=status)
        return before is None or (before.state, before.message) != (status.state, status.message)

    def forget(self, name: str) -> None:
        """Forget a process."""
        self._crash_counts.pop(name, None)
        if self._known.pop(name, None) is not None:
            self._store(parts_of(name)[0])

    def _of(self, name: str) -> _Known:
        return self._known.get(name, _NOTHING)

    def _keep(self, name: str, **learnt: Any) -> None:
        known = replace(self._of(name), **learnt)
        if known != self._of(name):
            self._known[name] = known
            self._store(parts_of(name)[0])

    def _store(self, app: str) -> None:
        own = {parts_of(name)[1]: _written(known) for name, known in self._known.items() if parts_of(name)[0] == app}
        text = json.dumps({"boot": self._boot, "processes": own}) if own else None
        with contextlib.suppress(sqlite3.Error):
            self._records.set_history(app, ASPECT, text)


def _written(known: _Known) -> dict[str, Any]:
    return {
        "crashes": {str(slot): asdict(crash) for slot, crash in known.crashes.items()},
        "stopped": known.stopped,
        "restart_before": known.restart_before,
        "status": known.status and asdict(known.status),
        "given": known.given,
    }


def _read(data: Mapping[str, Any], *, same_boot: bool) -> _Known:
    """Read what was known; after a reboot, crashes count no more."""
    crashes = {int(slot): Crash(**crash) for slot, crash in data["crashes"].items()} if same_boot else {}
    status = data["status"]
    restart = data.get("restart_before") if same_boot else None
    return _Known(
        crashes=crashes,
        stopped=str(data["stopped"]),
        restart_before=None if restart is None else float(restart),
        status=status and ProcessStatus(**status),
        given=tuple(map(str, data.get("given", ()))),
    )
