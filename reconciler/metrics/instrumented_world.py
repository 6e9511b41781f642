"""A World that counts what is done in it: each action, how it went and how long it took."""

import asyncio
import re
from collections.abc import Callable
from typing import Protocol

from reconciler.convergence.world import Plan, Report
from reconciler.metrics.counters import Counters
from reconciler.planning.apps.actions import Action, Reap, Release, Stage, Start
from reconciler.planning.apps.observed import Observed
from reconciler.planning.desired import App


class Observing(Protocol):
    """A World of apps that says what it sees."""

    def now(self) -> float: ...

    def plan(self, name: str, asked: App | None) -> Plan: ...

    def when_failing(self, name: str) -> str: ...

    def observe(self, name: str) -> Observed: ...

    async def do(self, name: str, action: Action) -> None: ...

    def report(self, name: str, report: Report) -> None: ...


class InstrumentedWorld:
    """Passes everything on. `because` says why a finished build has the environment it has, by app and build."""

    def __init__(self, world: Observing, counters: Counters, because: Callable[[str, str], str]) -> None:
        self._world = world
        self._counters = counters
        self._because = because

    def now(self) -> float:
        return self._world.now()

    def plan(self, name: str, asked: App | None) -> Plan:
        return self._world.plan(name, asked)

    def when_failing(self, name: str) -> str:
        return self._world.when_failing(name)

    def report(self, name: str, report: Report) -> None:
        self._world.report(name, report)

    async def do(self, name: str, action: Action) -> None:
        """Do it, and count it as done, failed or given up; what it raises rises."""
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
            self._counters.staged("reused" if self._because(name, action.build.id).startswith("reused") else "made")

    def _worked(self, name: str, action: Action) -> bool:
        """What did not get as far as it should is no error here, but remembered trouble of the app."""
        seen = self._world.observe(name)
        match action:
            case Start():
                return any(one.serves and one.revision == action.revision.id for one in seen.instances)
            case Release():
                return action.release in seen.released
            case Stage():
                return action.build.id in seen.builds
        return True


def kind_of(action: Action) -> str:
    """An action's name as a label: read_source, stage, start."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(action).__name__).lower()
