"""A World of apps that counts its actions, with their outcomes and durations."""

import asyncio
import re
from collections.abc import Callable
from typing import Protocol

from reconciler.convergence.world import Plan, Report
from reconciler.metrics.counters import Counters
from reconciler.planning.apps.actions import Action, Reap, Release, Stage, Start
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Observed


class ObservableWorld(Protocol):
    """A World of apps whose observations can be read."""

    def now(self) -> float: ...

    def plan(self, name: str, asked: App | None) -> Plan: ...

    def when_failing(self, name: str) -> str: ...

    def observe(self, name: str) -> Observed: ...

    async def do(self, name: str, action: Action) -> None: ...

    def report(self, name: str, report: Report) -> None: ...


class InstrumentedWorld:
    """Passes everything on. `reused` tells by app and build whether a finished build got an existing environment."""

    def __init__(self, world: ObservableWorld, counters: Counters, reused: Callable[[str, str], bool]) -> None:
        self._world = world
        self._counters = counters
        self._reused = reused

    def now(self) -> float:
        return self._world.now()

    def plan(self, name: str, asked: App | None) -> Plan:
        return self._world.plan(name, asked)

    def when_failing(self, name: str) -> str:
        return self._world.when_failing(name)

    def report(self, name: str, report: Report) -> None:
        self._world.report(name, report)

    async def do(self, name: str, action: Action) -> None:
        """Do an action, and count it as done, failed or given up; raises what the action raises."""
        began, outcome = self._world.now(), "failed"
        served = isinstance(action, Start) and any(one.serves for one in self._world.observe(name).instances)
        if isinstance(action, Reap) and action.failure is not None:
            self._counters.died(name)
        try:
            await self._world.do(name, action)
            outcome = "done" if self._worked(name, action) else "failed"
        except asyncio.CancelledError:
            outcome = "given up"
            raise
        finally:
            took = self._world.now() - began
            self._counters.acted(kind_of(action), outcome, took)
        if outcome == "done" and served:
            self._counters.handed_over(took)
        if outcome == "done" and isinstance(action, Stage):
            self._counters.staged("reused" if self._reused(name, action.build.id) else "made")

    def _worked(self, name: str, action: Action) -> bool:
        """Return whether an action reached its end: an app that fails is recorded, not raised."""
        observed = self._world.observe(name)
        match action:
            case Start():
                return any(one.serves and one.revision == action.revision.id for one in observed.instances)
            case Release():
                return action.release in observed.released
            case Stage():
                return action.build.id in observed.builds
        return True


def kind_of(action: Action) -> str:
    """Return an action's name as a label, such as read_source."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(action).__name__).lower()
