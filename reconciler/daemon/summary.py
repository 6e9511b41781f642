"""Summarise the states of all apps and services in one line for people."""

from collections import Counter
from collections.abc import Mapping

from reconciler.convergence.world import Report
from reconciler.planning.states import APP_STATES, SERVICE_STATES, StateInfo
from reconciler.planning.subject import Subject, SubjectKind
from reconciler.planning.wording import counted

_STATES: Mapping[SubjectKind, tuple[StateInfo, ...]] = {"app": APP_STATES, "service": SERVICE_STATES}


class HostSummary:
    """The last reported state of every app and service."""

    def __init__(self) -> None:
        self._states: dict[Subject, str] = {}

    def tell(self, subject: Subject, report: Report | None) -> None:
        """Take the newest report; None once the app or service is removed."""
        if report is None:
            self._states.pop(subject, None)
        else:
            self._states[subject] = report.state

    def line(self) -> str:
        """Return such as `3 apps: 1 failing, 2 running; 1 service: 1 ready`."""
        apps = self._counted("app")
        services = self._counted("service") if any(subject.kind == "service" for subject in self._states) else ""
        return f"{apps}; {services}" if services else apps

    def _counted(self, kind: SubjectKind) -> str:
        counts = Counter(state for subject, state in self._states.items() if subject.kind == kind)
        number = counts.total()
        if not number:
            return f"no {kind}s"
        parts = [f"{counts[state.name]} {state.name}" for state in _STATES[kind] if counts[state.name]]
        return f"{counted(number, kind)}: {', '.join(parts)}"
