"""Tell what becomes of schedules: failures after every retry, recoveries, what is late, too long, skipped or missed.

Each is told once: what goes on is not told again before something else has come.
"""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from reconciler.convergence.world import Report
from reconciler.host.stores import Stores
from reconciler.planning.reason import Reason
from reconciler.planning.schedules.actions import Late, Note
from reconciler.planning.schedules.schedule import Schedule
from reconciler.planning.subject import Subject
from reconciler.planning.tasks.task import Task
from reconciler.planning.wording import span
from reconciler.tasks.texts import described_by_schedule

ReportListener: TypeAlias = Callable[[Subject, Report | None], None]


class ScheduleReports:
    """Writes events of schedules, and passes their states on to `listeners`."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._failing: dict[Subject, str] = {}
        self._not_run: set[Subject] = set()
        self._unreachable: dict[tuple[Subject, str], str] = {}
        self.listeners: list[ReportListener] = []
        self.late = 0

    @property
    def failing(self) -> list[str]:
        """The schedules whose last task failed, each as its app, a slash and its name."""
        return sorted(subject.name for subject in self._failing)

    def restore(self, tasks: Iterable[Task]) -> None:
        """Take the last task of each schedule, of which an earlier daemon has told."""
        for task in tasks:
            if task.state == "failed":
                self._failing[_subject(task.app, task.schedule)] = task.ending

    def ended(self, task: Task, schedule: Schedule | None) -> None:
        """Take the end of a task of a schedule, which may be none any more."""
        subject = _subject(task.app, task.schedule)
        match task.state:
            case "skipped" | "missed":
                self._not_run_now(subject, task)
            case "succeeded":
                self._not_run.discard(subject)
                if self._failing.pop(subject, ""):
                    text = described_by_schedule(task, again=True)
                    self._event(task.app, text, "", Reason.SCHEDULE_RECOVERED)
                self._report(subject, "ready", "")
            case "failed" if is_final(task, schedule):
                self._not_run.discard(subject)
                if self._failing.get(subject) != task.ending and not task.is_by_hand:
                    self._event(task.app, described_by_schedule(task), "", Reason.SCHEDULE_FAILED)
                self._failing[subject] = task.ending
                self._report(subject, "failing", _failure(task))

    def _not_run_now(self, subject: Subject, task: Task) -> None:
        if subject in self._not_run:
            return
        self._not_run.add(subject)
        reason = Reason.SCHEDULE_SKIPPED if task.state == "skipped" else Reason.SCHEDULE_MISSED
        self._event(task.app, f"schedule {task.schedule} {task.state}", task.ending, reason)

    def tell(self, app: str, note: Note) -> None:
        """Tell that an occurrence is late, or takes too long."""
        name = note.occurrence.schedule
        if isinstance(note, Late):
            self.late += 1
            state, reason = "late", Reason.SCHEDULE_LATE
            text = "has not started within 5m of its time"
        else:
            state, reason = "overlong", Reason.SCHEDULE_TOO_LONG
            text = f"runs for much longer than the {span(note.usual_s)} that its last tasks took"
        self._report(_subject(app, name), state, text)
        self._event(app, f"schedule {name} {text}", "", reason)

    def ping_failed(self, schedule: Schedule, when: str, why: str) -> None:
        """Tell that a URL of a schedule could not be called, once for as long as it fails for the same reason."""
        key = (_subject(schedule.app, schedule.name), when)
        if self._unreachable.get(key) != why:
            self._unreachable[key] = why
            text = f"schedule {schedule.name}: cannot call the URL of ping.{when}: {why}"
            self._event(schedule.app, text, "", Reason.PING_FAILED)

    def forget(self, app: str, schedule: str) -> None:
        """Forget a schedule that was removed."""
        subject = _subject(app, schedule)
        self._failing.pop(subject, None)
        self._not_run.discard(subject)
        for listener in self.listeners:
            listener(subject, None)

    def _event(self, app: str, text: str, cause: str, reason: Reason) -> None:
        self._stores.record_event(app, "task", text, cause, reason)

    def _report(self, subject: Subject, state: str, message: str) -> None:
        report = Report(state=state, message=message, settled=state == "ready")
        for listener in self.listeners:
            listener(subject, report)


def _subject(app: str, schedule: str) -> Subject:
    return Subject("schedule", f"{app}/{schedule}")


def is_final(task: Task, schedule: Schedule | None) -> bool:
    """Return whether a task that failed is not tried again."""
    return schedule is None or task.attempt > schedule.retries.count or task.cancelled_by != ""


def _failure(task: Task) -> str:
    return "\n".join(filter(None, (f"task {task.id} {task.state}: {task.ending}", task.said)))
