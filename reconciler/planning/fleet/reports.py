"""Facts that hosts of a fleet report of themselves, as the others read them. Pure.

All durations are seconds of the reporting host's own clock, so that no two clocks are ever compared.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass

RunState: TypeAlias = Literal["starting", "failing", "well"]
# Why a host does not take what it might: an operator paused it, or it refuses the commit.
Held: TypeAlias = Literal["", "paused", "refused"]

MOST_RUNS = 100
MOST_BAD = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A commit that a host had in force: how its apps were with it, and for how long all were up to date."""

    commit: str
    state: RunState = "starting"
    well_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The report number `n` of a host. `runs` are the oldest first; `bad` are the commits that it has left again.

    A host that has lost its count begins another `series`, by its own time of day: a later one comes after all of an
    earlier one.
    """

    host: str
    series: int = 0
    n: int = 0
    head: str | None = None
    in_force: str | None = None
    runs: tuple[Run, ...] = ()
    bad: tuple[str, ...] = ()
    held: Held = ""

    @property
    def number(self) -> tuple[int, int]:
        """What is higher in a newer report of the same host."""
        return self.series, self.n

    def run(self, commit: str | None) -> Run | None:
        """Return the run of a commit, None if the host never had it in force or has forgotten it."""
        return next((run for run in self.runs if run.commit == commit), None)

    def with_run(self, run: Run) -> "Report":
        """Return the report with a run that is newer than all others, or in place of that of the same commit."""
        if self.run(run.commit) is not None:
            return replace(self, runs=tuple(run if each.commit == run.commit else each for each in self.runs))
        return replace(self, runs=(*self.runs, run)[-MOST_RUNS:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A host of the fleet as this one knows it: its last report, and how long the repository has had no newer one."""

    report: Report | None = None
    unchanged_s: float = 0.0


Peers: TypeAlias = Mapping[str, Peer]
