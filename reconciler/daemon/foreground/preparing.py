"""Prepare one app to run in the foreground: its services, its build and its release command, and nothing else.

Whatever else the state directory holds, desired or not, stays as it is.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, Protocol

from reconciler.convergence.world import Asked, Plan, Report, World
from reconciler.daemon.foreground.wanted import Wanted
from reconciler.daemon.worlds import FollowingWorld
from reconciler.manifests.catalog import Catalog
from reconciler.planning.apps.actions import Action
from reconciler.planning.apps.observed import ExternalInputs, Observed
from reconciler.planning.apps.plan_preparation import preparation
from reconciler.planning.desired_state import DesiredState
from reconciler.planning.plan import Plan as Planned
from reconciler.planning.states import SEVERITIES
from reconciler.planning.subject import Subject

# Until what is read anew is known; nothing else waits for it.
_LOOK_EVERY_S = 0.05
_WRONG = frozenset(("failing", "degraded"))


class NotPrepared(Exception):
    """Why an app cannot be run in the foreground; `reason` is one of those of commands."""

    def __init__(self, message: str, reason: Literal["failed", "not-found", "manifest-errors"] = "failed") -> None:
        super().__init__(message)
        self.reason = reason


def require_runnable(wanted: Wanted, catalog: Catalog, manifests: str, problem: str) -> None:
    """Raise NotPrepared unless a manifest that is in force describes what is wanted, and no newer one is refused."""
    name = wanted.app
    refused = [
        str(problem)
        for entry in catalog.files.values()
        if Subject("app", name) in entry.subjects
        for problem in entry.problems
    ]
    if refused:
        raise NotPrepared(f"the manifest of {name} is refused:\n" + "\n".join(refused), "manifest-errors")
    if problem and name not in catalog.apps:
        raise NotPrepared(problem, "manifest-errors")
    app = catalog.apps.get(name)
    if app is None:
        raise NotPrepared(f"no manifest in {manifests} describes an app named '{name}'", "not-found")
    if not wanted.supplied:
        return
    if app.state != "running" and not wanted.command:
        raise NotPrepared(f"the manifest of {name} says state: {app.state}")
    for binding in app.bindings:
        if binding.service not in catalog.services:
            raise NotPrepared(f"no manifest in force describes the service '{binding.service}' that {name} binds")
    if not app.recipe.web and wanted.is_web:
        raise NotPrepared(f"{name} has no web server; --process names one of its processes, and -- a command")


class AppsOfInterest(World, Protocol):
    """What preparing needs of the World of apps."""

    def observe(self, name: str) -> Observed: ...

    def plan(self, name: str, asked: Any, observed: Observed | None = None) -> Any: ...


class PreparingWorld:
    """The World of apps as far as it makes a revision ready to run, in the way that is wanted."""

    def __init__(self, world: AppsOfInterest, wanted: Wanted) -> None:
        self._world = world
        self._wanted = wanted
        self._last: dict[str, tuple[Planned[Action], Planned[Action]]] = {}
        self.now, self.when_failing, self.do, self.report = world.now, world.when_failing, world.do, world.report

    def plan(self, name: str, asked: Asked) -> Planned[Action]:
        """Plan as the World does, and leave out what serves."""
        observed = observed_as_wanted(self._world.observe(name), self._wanted)
        planned = self._world.plan(name, asked, observed)
        last = self._last.get(name)
        if last is None or last[0] is not planned:
            last = self._last[name] = planned, preparation(planned, asked, observed, release=self._wanted.release)
        return last[1]


def observed_as_wanted(observed: Observed, wanted: Wanted) -> Observed:
    """Return what is observed of the app, for what needs no service and no secret as if it asked for none."""
    return observed if wanted.supplied else replace(observed, inputs=ExternalInputs())


class OnlyAsked:
    """A World in which nothing is done about what is not asked for, least of all taken away."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._nothing: Planned[Action] = Planned(actions=(), state="stopped", settled=True)
        self.now, self.when_failing, self.do, self.report = world.now, world.when_failing, world.do, world.report

    def plan(self, name: str, asked: Asked | None) -> Plan:
        """Plan what is asked for."""
        return self._nothing if asked is None else self._world.plan(name, asked)


class OnlyChosen:
    """What follows the desired state for a World, and asks only for a part of it: what `choose` returns."""

    def __init__(
        self,
        world: FollowingWorld,
        ask: Callable[[Mapping[str, Asked]], None],
        choose: Callable[[Mapping[str, Asked], DesiredState], Mapping[str, Asked]],
    ) -> None:
        self._world = world
        self._ask = ask
        self._choose = choose

    def follow(self, desired: DesiredState) -> None:
        """Converge to this part of the desired state."""
        self._ask(self._choose(self._world.follow(desired), desired))


def its_services(wanted: Wanted) -> Callable[[Mapping[str, Asked], DesiredState], Mapping[str, Asked]]:
    """Return what chooses the services that the app binds."""

    def chosen(services: Mapping[str, Asked], desired: DesiredState) -> Mapping[str, Asked]:
        app = desired.apps.get(wanted.app)
        bound = set() if app is None or not wanted.supplied else {binding.service for binding in app.bindings}
        return {name: asked for name, asked in services.items() if name in bound}

    return chosen


def itself(wanted: Wanted) -> Callable[[Mapping[str, Asked], DesiredState], Mapping[str, Asked]]:
    """Return what chooses the app."""

    def chosen(apps: Mapping[str, Asked], desired: DesiredState) -> Mapping[str, Asked]:
        leases = desired.leases if isinstance(desired, Catalog) else {}
        return {wanted.app: wanted.of(apps[wanted.app], leases)} if wanted.app in apps else {}

    return chosen


class Watcher:
    """Waits until an app is ready to run or something about it fails; `told` gets each report on it.

    `is_current` says whether all that it is made from has been read.
    """

    def __init__(self, name: str, told: Callable[[Report], None], is_current: Callable[[], bool]) -> None:
        self._name = name
        self._told = told
        self._is_current = is_current
        self._last: Report | None = None
        self._news = asyncio.Event()

    def tell(self, subject: Subject, report: Report | None) -> None:
        """Take a report on an app or a service."""
        if subject == Subject("app", self._name) and report is not None:
            self._last = report
            self._told(report)
            self._news.set()

    async def ready(self) -> None:
        """Return once the app is ready. Raises NotPrepared."""
        while True:
            await self._news.wait()
            self._news.clear()
            last = self._last
            assert last is not None
            if last.failures or SEVERITIES[last.state] in _WRONG:
                raise NotPrepared(last.message)
            if last.settled and await self._is_still_settled(last):
                return

    async def _is_still_settled(self, last: Report) -> bool:
        while not self._is_current():  # noqa: ASYNC110  no event says so, and it takes a moment
            await asyncio.sleep(_LOOK_EVERY_S)
        await asyncio.sleep(0)
        return self._last is last

    @property
    def waits_for(self) -> str:
        """What is under way, in words."""
        return "" if self._last is None else self._last.message or self._last.state
