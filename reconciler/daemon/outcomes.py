"""Tell clients that wait whether every app and service is as its manifest asks, from what is true at this moment.

An outcome counts only while `current` is true: then all that was saved before the last request to look is in effect.
"""

import contextlib
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from reconciler.convergence.world import INTERNAL_ERROR, NO_FILES_LEFT, Report
from reconciler.daemon.manifest_loop import ManifestLoop
from reconciler.daemon.secret_files import SecretFiles
from reconciler.daemon.worlds import Converging
from reconciler.documents.problem import Problem
from reconciler.linux.error_words import as_internal, without_files
from reconciler.manifests.manifest_file import ManifestFile
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Observed
from reconciler.planning.outcome import Outcome, app_outcome, probation_left_s, service_outcome
from reconciler.planning.plan import Plan
from reconciler.planning.reason import Reason
from reconciler.planning.subject import HOST, Subject
from reconciler.staging.source.last_seen import SourceTracker
from reconciler.version import VERSION

_MOST_SHOWN = 1000  # problems of one file, each of which all of its apps and services have


class Outcomes:
    """The outcome of each app and service. `observe` returns what is true of an app, `plan` what follows from it."""

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        manifests: ManifestLoop,
        *,
        services: Converging,
        apps: Converging,
        observe: Callable[[str], Observed],
        plan: Callable[[str, App | None, Observed], Plan[Any]],
        tracker: SourceTracker,
        secret_files: SecretFiles,
        redact: Callable[[Subject, str], str],
    ) -> None:
        self._manifests = manifests
        self._services = services
        self._apps = apps
        self._observe = observe
        self._plan = plan
        self._tracker = tracker
        self._secret_files = secret_files
        self._redact = redact
        self._reports: dict[Subject, Report] = {}
        self._run = secrets.token_hex(8)  # another daemon has to be asked to look once more

    def on_report(self, subject: Subject, report: Report | None) -> None:
        """Keep the newest report on each app and service: it says how far long work has come."""
        if report is None:
            self._reports.pop(subject, None)
        else:
            self._reports[subject] = report

    def look(self) -> dict[str, Any]:
        """Have the manifests, the sources and the files of secrets looked at now; return which daemon this is."""
        self._manifests.look_again()
        for name in self._manifests.catalog.apps:
            self._tracker.suspect(name)
        return {"run": self._run}

    def as_json(self, *, only_open: bool) -> dict[str, Any]:
        """Return the outcome of each app, service and refused manifest; `only_open`: of those not up to date."""
        rows = [row for row in self.rows() if not only_open or row["outcome"] != "up-to-date"]
        return {"run": self._run, "version": VERSION, "current": self._manifests.is_current, "rows": rows}

    def is_being_read(self, name: str) -> bool:
        """Return whether what an app is made from is being read, so that its revision is not known yet."""
        return self._tracker.is_behind(name) or self._secret_files.is_being_read(name)

    def of_apps(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """Return the outcomes of these apps alone, as `rows` has them."""
        refused = _refused(self._manifests.catalog.files.values())
        subjects = (Subject("app", name) for name in sorted(names))
        return [self._row(subject, refused.get(subject, ()), self._app) for subject in subjects]

    def of_names(self, names: Collection[str]) -> list[dict[str, Any]]:
        """Return the outcomes of these apps and services, and of what else has a refused manifest, as `rows` has them.

        A service is named as a file of manifests tells it from an app: `service NAME`.
        """
        return [*self._rows(names)]

    def wanted(self, names: Iterable[str]) -> dict[str, str | None]:
        """Return the revision that each of these apps wants, None where that is not known and of a service."""
        return {name: self._wanted(name) for name in sorted(names)}

    def _wanted(self, name: str) -> str | None:
        app = self._manifests.catalog.apps.get(name)
        if app is None or app.source.missing or self.is_being_read(name):
            return None
        with contextlib.suppress(Exception):  # an internal error in one is told of that one elsewhere
            return self._plan(name, app, self._observe(name)).wanted
        return None

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the outcome of each app, service and refused manifest, and of the host where something is wrong."""
        return self._rows()

    def _rows(self, names: Collection[str] | None = None) -> Iterator[dict[str, Any]]:
        catalog = self._manifests.catalog
        refused = _refused(catalog.files.values())
        for name in sorted({*catalog.services, *self._services.world.names()}):
            problems = refused.pop(subject := Subject("service", name), ())
            if names is None or f"service {name}" in names:
                yield self._row(subject, problems, self._service)
        for name in sorted({*catalog.apps, *self._apps.world.names()}):
            problems = refused.pop(subject := Subject("app", name), ())
            if names is None or name in names:
                yield self._row(subject, problems, self._app)
        for subject, problems in sorted(refused.items(), key=lambda item: str(item[0])):
            yield _row_of(subject, "refused", "invalid", "") | _refusal(problems)
        if problem := self._manifests.problem:
            yield _row_of(HOST, "failed", "failing", catalog.notice or problem)
        elif catalog.notice:
            yield _row_of(HOST, "under-way", "pending", catalog.notice)

    def _row(
        self, subject: Subject, problems: tuple[Problem, ...], judged: Callable[[str], dict[str, Any]]
    ) -> dict[str, Any]:
        try:
            row = judged(subject.name)
        except Exception as error:  # noqa: BLE001  an internal error in one is told of that one
            full = without_files(error)
            said = full or as_internal(error)
            row = _row_of(subject, "failed", "failing", said)
            row["reason"] = NO_FILES_LEFT if full else INTERNAL_ERROR
        if problems:
            row |= _refusal(problems)
        return row

    def _app(self, name: str) -> dict[str, Any]:
        app, observed, now = self._manifests.catalog.apps.get(name), self._observe(name), self._apps.world.now()
        planned = self._plan(name, app, observed)
        outcome = app_outcome(app, planned, observed, now)
        if self.is_being_read(name):
            outcome = "under-way"
        row = self._judged(Subject("app", name), self._apps, planned, outcome)
        if app is not None:
            row["services"] = [binding.service for binding in app.bindings]
            if app.source.missing:
                row["revision"] = None  # the plan is about the source before
        if outcome == "on-probation" and app is not None:
            row["probation_left_s"] = round(probation_left_s(app, planned, observed, now), 1)
        return row

    def _service(self, name: str) -> dict[str, Any]:
        planned: Plan[Any] = self._services.world.plan(name, self._manifests.catalog.services.get(name))  # type: ignore[assignment]
        return self._judged(Subject("service", name), self._services, planned, service_outcome(planned))

    def _judged(self, subject: Subject, one: Converging, planned: Plan[Any], outcome: Outcome) -> dict[str, Any]:
        report = self._reports.get(subject)
        state, reason, message = str(planned.state), str(planned.reason), self._redact(subject, planned.message)
        failure = one.controller.failure_of(subject.name, planned)
        if failure is not None:
            outcome, reason, message = "failed", failure.reason, self._redact(subject, failure.message)
            state = one.world.when_failing(subject.name)
        elif outcome == "under-way" and report is not None and not report.settled and report.message:
            state, reason, message = report.state, str(report.reason), report.message
        left_s = None if report is None or report.next_try_at is None else report.next_try_at - time.monotonic()
        return {
            **_row_of(subject, outcome, state, message),
            "reason": reason,
            "revision": planned.wanted,
            "retry_in_s": round(left_s, 1) if outcome == "failed" and left_s is not None and left_s > 0 else None,
        }


def _row_of(subject: Subject, outcome: Outcome, state: str, message: str) -> dict[str, Any]:
    return {"kind": subject.kind, "name": subject.name, "outcome": outcome, "state": state, "message": message}


def _refused(files: Iterable[ManifestFile]) -> dict[Subject, tuple[Problem, ...]]:
    """Return the problems of refused files by what they are about: what is in force of them, and what they ask for."""
    found: dict[Subject, tuple[Problem, ...]] = {}
    for entry in files:
        shown = entry.problems[: max(1, _MOST_SHOWN // max(1, len(entry.subjects)))]
        for subject in entry.subjects if shown else ():
            found[subject] = (*found.get(subject, ()), *shown)
    return found


def _refusal(problems: tuple[Problem, ...]) -> dict[str, Any]:
    return {
        "outcome": "refused",
        "reason": Reason.MANIFEST_REFUSED,
        "message": str(problems[0]),
        "errors": [
            {"file": p.file, "line": p.line, "column": p.column, "path": p.path, "message": p.message} for p in problems
        ],
    }
