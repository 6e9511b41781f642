"""Record, when the daemon ends, why what it was retrying had failed: nothing is under way any more."""

import contextlib
import sqlite3
from dataclasses import replace

from reconciler.convergence.world import Report
from reconciler.planning.states import TRANSIENT_STATES
from reconciler.planning.subject import Subject
from reconciler.state.records import Records


class Unfinished:
    """The last report on each app, and its last failure until it is settled."""

    def __init__(self) -> None:
        self._last: dict[str, Report] = {}
        self._failures: dict[str, Report] = {}

    def on_report(self, subject: Subject, report: Report | None) -> None:
        """Take the newest report; None once the app is removed."""
        if subject.kind != "app":
            return
        if report is None:
            self._last.pop(subject.name, None)
        else:
            self._last[subject.name] = report
        if report is None or report.settled:
            self._failures.pop(subject.name, None)
        elif report.failed_now:
            self._failures[subject.name] = report

    def conclude(self, records: Records) -> None:
        """Replace the status of each app on which work is under way after a failure by that failure."""
        with contextlib.suppress(sqlite3.Error):  # a full disk costs the display its freshness, nothing else
            statuses = records.app_statuses()
            for name, failure in self._failures.items():
                if name in statuses and self._last[name].state in TRANSIENT_STATES:
                    last = replace(
                        statuses[name], state=failure.state, reason=str(failure.reason), message=failure.message
                    )
                    records.set_app_status(name, replace(last, next_try_at=None))
