"""The last report on each app: published, stored for `status`, and its failures journaled."""

import contextlib
import sqlite3
import time
from collections.abc import Callable

from reconciler.convergence.world import Report
from reconciler.host.stores import Stores
from reconciler.planning.reason import Reason
from reconciler.planning.states import AppState
from reconciler.planning.subject import Subject
from reconciler.staging.progress import Phase
from reconciler.state.records import AppStatus


class Standings:
    """The status of every app that was ever reported on. `publish` gets every report, and None for an app removed."""

    def __init__(self, stores: Stores, publish: Callable[[Subject, Report | None], None]) -> None:
        self._stores = stores
        self._publish = publish
        self._apps: dict[str, AppStatus] = stores.records.app_statuses()

    def names(self) -> frozenset[str]:
        """Return the apps that were reported on."""
        return frozenset(self._apps)

    def __contains__(self, name: str) -> bool:
        return name in self._apps

    def report(self, name: str, report: Report) -> None:
        """Publish a report; store it when it differs from the last one."""
        self._publish(Subject("app", name), report)
        before = self._apps.get(name)
        now, monotonic = time.time(), time.monotonic()  # noqa: TID251  shown to people, never subtracted
        status = AppStatus(
            state=report.state,
            message=report.message,
            wanted=report.wanted or (before.wanted if before else None),
            since=before.since if before is not None and before.state == report.state else now,
            next_try_at=None if report.next_try_at is None else now + report.next_try_at - monotonic,
            reason=str(report.reason),
        )
        if status == before:
            return
        self._apps[name] = status
        with contextlib.suppress(sqlite3.Error):  # a full disk costs the display its freshness, nothing else
            self._stores.records.set_app_status(name, status)
        if report.failed_now:
            self._stores.record_event(name, "failed", report.message, f"try {report.failures}", report.reason)

    def progress(self, name: str, phase: Phase, state: AppState) -> Report:
        """Return a report of how far a long action of an app has come."""
        before = self._apps.get(name)
        reason = Reason.STAGING if state == "staging" else Reason.RELEASING
        wanted = before.wanted if before else None
        return Report(state=state, reason=reason, message=str(phase), phase=phase.work, wanted=wanted)

    def forget(self, name: str) -> None:
        """Forget an app that was removed, and publish that."""
        self._apps.pop(name, None)
        self._publish(Subject("app", name), None)
