"""Remember between two daemons what a host counts for its fleet: durations by its own clock, and who was heard of.

A clock that runs from the start of the machine counts; over a restart of that, a count goes on from where it was.
"""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Any

from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import replace_file
from reconciler.linux.process_identity import boot_id
from reconciler.linux.regular_files import read_record
from reconciler.planning.fleet.reports import Report, Run

_MOST = 8 * 1024 * 1024
_MOST_SEEN = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """The last report of a host: its number, the key that it was signed with, and how long it has been the last one.

    What it said of commits counts even when it is gone from the repository: which one was `in_force`, and which were
    `bad`.
    """

    series: int = 0
    n: int = 0
    key: str = ""
    unchanged_s: float = 0.0
    in_force: str | None = None
    bad: tuple[str, ...] = ()

    @property
    def number(self) -> tuple[int, int]:
        """What has to be higher in a report that comes after this one."""
        return self.series, self.n

    def report(self, host: str) -> Report | None:
        """Return what is remembered of the report, None if there was none: nothing of how the host's apps were."""
        return Report(host=host, series=self.series, n=self.n, in_force=self.in_force, bad=self.bad) if self.n else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRecord:
    """What a host counts. `own` is its own report; `seen_s` is for how long it has known each commit.

    `excused` are the apps that failed already when the commit `excused_with` became good. `counted` is the commit in
    force that was last counted, and `unsettled_s` for how long it has not been good; `owed_s` is for how long the rules
    by which it was taken want this host to be well with it.
    """

    own: Report
    seen_s: Mapping[str, float] = field(default_factory=dict)
    heard: Mapping[str, Heard] = field(default_factory=dict)
    excused: tuple[str, ...] = ()
    excused_with: str = ""
    counted: str = ""
    unsettled_s: float = 0.0
    owed_s: float = 0.0

    def with_time(self, passed_s: float) -> "FleetRecord":
        """Return the record once some seconds have passed for the commits that this host knows."""
        if not passed_s or not self.seen_s:
            return self
        return replace(self, seen_s={commit: known_s + passed_s for commit, known_s in self.seen_s.items()})

    def with_seen(self, commits: tuple[str, ...]) -> "FleetRecord":
        """Return the record with these commits only as the ones that this host knows; the newest are first."""
        return replace(self, seen_s={commit: self.seen_s.get(commit, 0.0) for commit in commits[:_MOST_SEEN]})


def clock_s() -> float:
    """Return the seconds since this machine started, those of its sleep included: a clock that no program sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def read(path: Path, host: str, now_s: float) -> tuple[FleetRecord, float]:
    """Return what is remembered, and how many seconds ago it was written as far as is known. Blocks."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        found: dict[str, Any] = read_record(path, _MOST)
        own = {
            **found["own"],
            "runs": tuple(Run(**run) for run in found["own"]["runs"]),
            "bad": tuple(found["own"]["bad"]),
        }
        record = FleetRecord(
            own=replace(Report(**own), host=host),
            seen_s={commit: float(known_s) for commit, known_s in found["seen_s"].items()},
            heard={name: _heard(heard) for name, heard in found["heard"].items()},
            excused=tuple(found["excused"]),
            excused_with=found["excused_with"],
            counted=found["counted"],
            unsettled_s=float(found["unsettled_s"]),
            owed_s=float(found["owed_s"]),
        )
        passed_s = now_s - float(found["at_s"]) if found["boot"] == boot_id() else 0.0
        return record, max(0.0, passed_s)
    return FleetRecord(own=Report(host=host)), 0.0


def _heard(found: Mapping[str, Any]) -> Heard:
    return Heard(**{**found, "bad": tuple(found.get("bad", ()))})


def write(path: Path, record: FleetRecord, now_s: float) -> None:
    """Write down what is to be remembered. Raises OSError; blocks."""
    replace_file(path, json.dumps({**asdict(record), "boot": boot_id(), "at_s": now_s}))
