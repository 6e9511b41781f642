"""Reports on apps in; how all of them stand, in one line for a person, out."""

from collections import Counter

from reconciler.convergence.world import Report

WORST_FIRST = (
    "failing", "degraded", "invalid", "starting", "staging", "pending", "stopping", "maintenance", "running",
    "sleeping", "stopped",
)  # fmt: skip


class HostSummary:
    """The last report's state of every app."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}

    def tell(self, name: str, report: Report | None) -> None:
        """How an app stands now; None once it is gone."""
        if report is None:
            self._states.pop(name, None)
        else:
            self._states[name] = report.state

    def line(self) -> str:
        """Such as "3 apps: 1 failing, 2 running"."""
        counts = Counter(self._states.values())
        told = [f"{counts[state]} {state}" for state in WORST_FIRST if counts[state]]
        apps = "1 app" if len(self._states) == 1 else f"{len(self._states)} apps"
        return f"{apps}: {', '.join(told)}" if told else "no apps"
