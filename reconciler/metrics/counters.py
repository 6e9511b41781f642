"""Counters of the daemon: actions, staging, hand-overs and crashes, and the states of apps and services.

They are in memory and start at 0 with each daemon, as Prometheus expects of counters.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import field
from typing import Any

from reconciler.convergence.world import Report
from reconciler.linux.dataclass import dataclass
from reconciler.planning.reason import BACKUP_TROUBLES
from reconciler.planning.subject import Subject, SubjectKind

BOUNDS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)


@dataclass(slots=True, kw_only=True)
class Durations:
    """A histogram: counts by BOUNDS_S, the last of what took longer, and the sum in seconds."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.buckets[bisect_left(BOUNDS_S, seconds)] += 1
        self.seconds += seconds


class Counters:
    """The counters of one daemon. `clock` is monotonic seconds.

    `probes` counts probes by (app, whether healthy), `backup_failures` failed backups by service.
    """

    def __init__(
        self, clock: Callable[[], float], probes: Counter[tuple[str, bool]], backup_failures: Counter[str]
    ) -> None:
        self._clock = clock
        self._probes = probes
        self._backup_failures = backup_failures
        self._began = clock()
        self._settled_at: float | None = None
        self._unsettled: set[Subject] = set()
        self._reports: dict[Subject, Report] = {}
        self._actions: Counter[tuple[str, str]] = Counter()
        self._durations: dict[str, Durations] = {}
        self._environments: Counter[str] = Counter()
        self._deaths: Counter[str] = Counter()
        self._handover = Durations()

    def on_report(self, subject: Subject, report: Report | None) -> None:
        """Take the newest report on an app or a service; None after its removal."""
        if report is None:
            self._reports.pop(subject, None)
            self._unsettled.discard(subject)
            if subject.kind == "app":
                self._forget_app(subject.name)
        else:
            self._reports[subject] = report
            (self._unsettled.discard if report.settled else self._unsettled.add)(subject)
        if not self._unsettled:
            self._settled_at = self._clock()

    def acted(self, kind: str, outcome: str, seconds: float) -> None:
        """Count an action that was done, failed, or given up for another."""
        self._actions[kind, outcome] += 1
        self._durations.setdefault(kind, Durations()).add(seconds)

    def staged(self, environment: str) -> None:
        """Count a build, by whether its environment was "made" or "reused"."""
        self._environments[environment] += 1

    def handed_over(self, seconds: float) -> None:
        """Count a hand-over: a new instance became ready while an earlier one served."""
        self._handover.add(seconds)

    def died(self, app: str) -> None:
        """Count an instance that exited unexpectedly."""
        self._deaths[app] += 1

    def as_json(self) -> dict[str, Any]:
        """Return all counters as JSON. `unsettled_s` is the seconds since all was up to date, 0 while it is."""
        now = self._clock()
        since = self._began if self._settled_at is None else self._settled_at
        return {
            "states": self._states_of("app"),
            "service_states": self._states_of("service"),
            "backup_troubles": self._backup_troubles(),
            "backup_failures": dict(sorted(self._backup_failures.items())),
            "backlog": sum(subject.kind == "app" for subject in self._unsettled),
            "service_backlog": sum(subject.kind == "service" for subject in self._unsettled),
            "unsettled_s": now - since if self._unsettled or self._settled_at is None else 0.0,
            "actions": [[kind, outcome, count] for (kind, outcome), count in sorted(self._actions.items())],
            "durations": {kind: _json(each) for kind, each in sorted(self._durations.items())},
            "environments": dict(self._environments),
            "deaths": dict(self._deaths),
            "handover": _json(self._handover),
            "probes": [[app, healthy, count] for (app, healthy), count in sorted(self._probes.items())],
        }

    def _forget_app(self, name: str) -> None:
        self._deaths.pop(name, None)
        for key in [key for key in self._probes if key[0] == name]:
            del self._probes[key]

    def _states_of(self, kind: SubjectKind) -> dict[str, str]:
        return {subject.name: report.state for subject, report in self._reports.items() if subject.kind == kind}

    def _backup_troubles(self) -> dict[str, str]:
        """Return the reason of each service whose scheduled backups are in trouble."""
        return {
            subject.name: str(report.reason)
            for subject, report in self._reports.items()
            if subject.kind == "service" and report.reason in BACKUP_TROUBLES
        }


def _json(durations: Durations) -> dict[str, Any]:
    return {"buckets": durations.buckets, "seconds": durations.seconds}
