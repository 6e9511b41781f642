"""Pass reports of both Worlds on to everything that shows, counts or waits for them."""

from collections.abc import Callable
from typing import TypeAlias

from reconciler.convergence.standing_tasks import survived
from reconciler.convergence.world import Report
from reconciler.planning.subject import Subject

ReportListener: TypeAlias = Callable[[Subject, Report | None], None]


class Reports:
    """Calls each of `listeners` with every report on an app or a service, and with None once that is removed.

    An error of a listener reaches neither the others nor the app.
    """

    def __init__(self) -> None:
        self.listeners: list[ReportListener] = []

    def publish(self, subject: Subject, report: Report | None) -> None:
        """Pass on the newest report on a subject."""
        for listener in self.listeners:
            try:
                listener(subject, report)
            except Exception:
                with survived(f"pass on the state of {subject}"):
                    raise
