"""The last report of each service, and its status in the database, which outlives the daemon."""

import contextlib
import sqlite3
import time

from reconciler.convergence.world import Report
from reconciler.services.observer import LastReport
from reconciler.state.records import Records, ServiceStatus


class ServiceStatuses:
    """Stores the status of every service. A full disk costs only how recent the stored status is."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._statuses = records.service_statuses()
        self._reports: dict[str, Report] = {}
        self._sizes = {name: status.size for name, status in self._statuses.items()}

    def names(self) -> frozenset[str]:
        """Return the services with a status."""
        return frozenset(self._statuses)

    def has(self, name: str) -> bool:
        """Return whether a service has a status."""
        return name in self._statuses

    def last_report(self, name: str) -> LastReport:
        """Return the last report of a service since the daemon started."""
        report = self._reports.get(name)
        if report is None:
            return LastReport()
        return LastReport(message=report.message, next_try_at=report.next_try_at, failures=report.failures)

    def set_size(self, name: str, size_bytes: int | None) -> None:
        """Note how much a service holds, for its next status."""
        self._sizes[name] = size_bytes

    def update(self, name: str, report: Report) -> bool:
        """Store a report as the service's status; return whether it says anything new to apps."""
        before, last = self._statuses.get(name), self._reports.get(name)
        self._reports[name] = report
        now = time.time()  # noqa: TID251  shown to people, never subtracted
        status = ServiceStatus(
            state=report.state,
            message=report.message,
            since=before.since if before is not None and before.state == report.state else now,
            next_try_at=None if report.next_try_at is None else now + report.next_try_at - time.monotonic(),
            size=self._sizes.get(name),
            reason=str(report.reason),
        )
        if status == before:
            return False
        self._statuses[name] = status
        with contextlib.suppress(sqlite3.Error):
            self._records.set_service_status(name, status)
        return last is None or _for_apps(last) != _for_apps(report)

    def forget(self, name: str) -> None:
        """Delete the status of a service. Raises sqlite3.Error."""
        self._records.set_service_status(name, None)
        self._statuses.pop(name, None)
        self._reports.pop(name, None)
        self._sizes.pop(name, None)


def _for_apps(report: Report) -> tuple[str, str, float | None]:
    return report.state, report.message, report.next_try_at
