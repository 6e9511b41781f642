"""Observe, plan, do the first thing, look again: until nothing is left to do for one app.

Nothing is remembered between two rounds, and an action is given up as soon as it is no longer the first thing to do.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from reconciler.actions import Action
from reconciler.desired import App
from reconciler.observed import Observed
from reconciler.plan import Plan, State, plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What to tell an operator about an app.

    `next_try_at` is monotonic seconds, None when nothing is being retried; `failures` counts the tries that failed in
    a row; `settled` means that nothing is left to do.
    """

    state: State
    message: str = ""
    wanted: str | None = None
    next_try_at: float | None = None
    failures: int = 0
    settled: bool = False


class World(Protocol):
    """What convergence sees and touches. Names are all it needs to know of an app."""

    def now(self) -> float:
        """Monotonic seconds, the same clock as the event loop's."""
        ...

    def observe(self, name: str) -> Observed:
        """What is true right now; cheap, and without an effect."""
        ...

    async def do(self, name: str, action: Action) -> None:
        """Carry out one action; raises when it cannot. May be cancelled at any await."""
        ...

    def report(self, name: str, report: Report) -> None:
        """Tell whoever watches how the app stands."""
        ...


class ActionFailed(Exception):
    """An action could not be done: which one, and why, in words for `status`."""

    def __init__(self, action: Action, reason: str) -> None:
        super().__init__(reason)
        self.action = action
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One app's side of convergence: its name, what is asked of it now, and the bell that says "look again"."""

    name: str
    asked: Callable[[], App | None]
    bell: asyncio.Event

    def plan(self, world: World) -> Plan:
        """The plan as things stand this instant; answers the bell."""
        self.bell.clear()
        return plan(self.asked(), world.observe(self.name), world.now())


async def converge(subject: Subject, world: World) -> Plan:
    """Do the first action of plan after plan until one has none, and return that one; raises ActionFailed."""
    while True:
        now = subject.plan(world)
        world.report(
            subject.name,
            Report(
                state=now.state,
                message=now.message,
                wanted=now.wanted,
                next_try_at=now.look_again_at,
                settled=now.first is None and now.look_again_at is None,
            ),
        )
        if now.first is None:
            return now
        await _do_while_first(subject, world, now.first)


async def _do_while_first(subject: Subject, world: World, action: Action) -> None:
    """Do an action, but give it up when a look taken at the ring of the bell puts another one first."""
    failures: list[ActionFailed] = []

    async def effect() -> None:
        try:
            await world.do(subject.name, action)
        except Exception as error:
            failure = ActionFailed(action, str(error) or type(error).__name__)
            failure.__cause__ = error
            failures.append(failure)

    async with asyncio.TaskGroup() as group:
        doing = group.create_task(effect())
        while not doing.done():
            rung = group.create_task(subject.bell.wait())
            await asyncio.wait((doing, rung), return_when=asyncio.FIRST_COMPLETED)
            rung.cancel()
            if not doing.done() and subject.plan(world).first != action:
                doing.cancel()
                break
    if failures:
        raise failures[0]
