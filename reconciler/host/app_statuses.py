"""The last report on each app: published, stored for `status`, and its failures journaled."""

import contextlib
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace

from reconciler.convergence.world import Report
from reconciler.host.stores import Stores
from reconciler.planning.reason import Reason
from reconciler.planning.states import TRANSIENT_STATES, AppState
from reconciler.planning.subject import Subject
from reconciler.staging.progress import Phase
from reconciler.state.records import AppStatus

_UNWELL = frozenset(("failing", "degraded"))


class Standings:
    """The status of every app that was ever reported on. `publish` gets every report, and None for an app removed."""

    def __init__(self, stores: Stores, publish: Callable[[Subject, Report | None], None]) -> None:
        self._stores = stores
        self._publish = publish
        self._apps: dict[str, AppStatus] = stores.records.app_statuses()
        self._failures: dict[str, Report] = {}
        self._unsettled: dict[str, Report] = {}  # the last failure of each since it was as desired
        self._deployed: set[str] = set()
        self._unwell = {name for name, last in self._apps.items() if last.state in _UNWELL}

    def names(self) -> frozenset[str]:
        """Return the apps that were reported on."""
        return frozenset(self._apps)

    def __contains__(self, name: str) -> bool:
        return name in self._apps

    def rest(self, name: str) -> bool:
        """Return whether the same report on an app would say nothing new: no recovery is to be told once it lasts."""
        return name in self._apps and name not in self._unwell

    def report(self, name: str, report: Report, *, lasts: bool = True) -> None:
        """Publish a report; store it when it differs from the last one. `lasts`: what serves has for a while."""
        if report.settled:
            self._unsettled.pop(name, None)
        elif report.failed_now:
            self._unsettled[name] = report
        if not report.phase:
            self._learn(name, report, lasts=lasts)
        self._publish(Subject("app", name), report)
        before = self._apps.get(name)
        now, monotonic = time.time(), time.monotonic()  # noqa: TID251  shown to people, never subtracted
        status = AppStatus(
            state=report.state,
            message=report.message,
            wanted=report.wanted or (before.wanted if before else None),
            since=before.since if before is not None and self._is_as_before(name, before, report) else now,
            next_try_at=None if report.next_try_at is None else now + report.next_try_at - monotonic,
            reason=str(report.reason),
        )
        if status == before:
            return
        self._apps[name] = status
        self._deployed.discard(name)
        with contextlib.suppress(sqlite3.Error):  # a full disk costs the display its freshness, nothing else
            self._stores.records.set_app_status(name, status)
        if report.failed_now:
            self._stores.record_event(name, "failed", report.message, f"try {report.failures}", report.reason)

    def deployed(self, name: str) -> None:
        """Count the time in the next state that is reported from then on: another revision serves."""
        self._deployed.add(name)

    def _is_as_before(self, name: str, before: AppStatus, report: Report) -> bool:
        return before.state == report.state and name not in self._deployed

    def end(self) -> None:
        """Store the last failure of each app that was being tried again, as nothing is under way from now on."""
        under_way = {name for name, last in self._apps.items() if last.state in TRANSIENT_STATES}
        for name, failure in {**self._unsettled, **self._failures}.items():
            if name in self._failures or name in under_way:
                self.report(name, replace(failure, failed_now=False, next_try_at=None))

    def progress(self, name: str, phase: Phase, state: AppState, *, serves: bool) -> Report:
        """Return a report of how far a long action of an app has come, with the failure that it follows."""
        before, failure = self._apps.get(name), self._failures.get(name)
        wanted = before.wanted if before else None
        if failure is not None:
            return replace(
                failure,
                message=f"{failure.message}; trying again: {phase}",
                phase=f"trying again: {phase.work}",
                wanted=wanted,
                next_try_at=None,
                failed_now=False,
            )
        reason = Reason.STAGING if state == "staging" else Reason.RELEASING
        message = f"deploying: {phase}" if serves else str(phase)
        return Report(
            state="running" if serves else state, reason=reason, message=message, phase=phase.work, wanted=wanted
        )

    def _learn(self, name: str, report: Report, *, lasts: bool) -> None:
        """Keep the failure of an action that is tried again until it works; journal a recovery that lasts."""
        if report.state in _UNWELL:
            self._unwell.add(name)
        elif report.settled and lasts and name in self._unwell:
            self._unwell.discard(name)
            self._stores.record_event(name, "recovered", f"{report.state} as desired again")
        if report.failures and report.state in _UNWELL:
            self._failures[name] = report
        else:
            self._failures.pop(name, None)

    def forget(self, name: str) -> None:
        """Forget an app that was removed, and publish that."""
        self._apps.pop(name, None)
        self._failures.pop(name, None)
        self._unsettled.pop(name, None)
        self._unwell.discard(name)
        self._deployed.discard(name)
        self._publish(Subject("app", name), None)
