"""Observe, plan, do the first thing, look again: until nothing is left to do for one app.

Nothing is remembered between two rounds, and an action is given up as soon as it is no longer the first thing to do.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from reconciler.actions import Action, Release, Start
from reconciler.desired import App
from reconciler.observed import Observed
from reconciler.plan import Plan, State, plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What to tell an operator about an app.

    `next_try_at` is monotonic seconds, None when nothing is being retried; `failures` counts the tries that failed in
    a row, the last of them just now when `failed_now`; `settled` means that nothing is left to do.
    """

    state: State
    message: str = ""
    wanted: str | None = None
    next_try_at: float | None = None
    failures: int = 0
    failed_now: bool = False
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

    async def look(self, world: World) -> Plan:
        """Answer the bell, do what is to be done at once, and return the plan as things stand then."""
        self.bell.clear()
        now = self.peek(world)
        for action in now.at_once:
            await world.do(self.name, action)
        return self.peek(world) if now.at_once else now

    def peek(self, world: World) -> Plan:
        """The plan as things stand this instant, without an effect."""
        return plan(self.asked(), world.observe(self.name), world.now())

    async def rung(self, until: float | None) -> None:
        """Wait for the bell, or for a moment of the loop's clock."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self.bell.wait()


async def converge(subject: Subject, world: World, held: Callable[[Action], ActionFailed | None]) -> Plan:
    """Do the first action of plan after plan until one has none, and return that one; raises ActionFailed.

    An action that `held` has a failure for is not tried yet: that failure is raised again. An action that works and is
    still the first thing to do has failed, too: else it would be done without a pause. Of an app that nobody asks for
    and of which nothing is left nothing is told, as that would be a trace again.
    """
    done: tuple[Action, int] | None = None
    while True:
        now = await subject.look(world)
        if now.first is None and subject.asked() is None:
            return now
        world.report(
            subject.name,
            Report(
                state=now.state,
                message=now.message,
                wanted=now.wanted,
                next_try_at=now.look_again_at if now.failures and not now.settled else None,
                failures=now.failures,
                settled=now.settled,
            ),
        )
        if now.first is None:
            return now
        failed = held(now.first)
        if failed is not None:
            raise failed
        doing = (now.first, _tries(now.first))
        if doing == done:
            raise ActionFailed(now.first, f"to {now.first} made no difference")
        done = doing if await _done_while_first(subject, world, now) else None


def _tries(action: Action) -> int:
    """How many times an action will have failed if it fails now: one that is counted did make a difference."""
    return action.failing.count if isinstance(action, Start | Release) else 0


async def _done_while_first(subject: Subject, world: World, now: Plan) -> bool:
    """Do a plan's first action, but give it up, and say False, when a later look puts another one first.

    The look is taken at a ring of the bell and when time alone may have changed the plan.
    """
    action = now.first
    assert action is not None
    failures: list[ActionFailed] = []
    given_up = False

    async def effect() -> None:
        try:
            await world.do(subject.name, action)
        except Exception as error:  # noqa: BLE001  it rises to the controller as an ActionFailed
            failure = ActionFailed(action, str(error) or type(error).__name__)
            failure.__cause__ = error
            failures.append(failure)

    async with asyncio.TaskGroup() as group:
        doing = group.create_task(effect())
        while not doing.done() and not given_up:
            rung = group.create_task(subject.rung(now.look_again_at))
            await asyncio.wait((doing, rung), return_when=asyncio.FIRST_COMPLETED)
            rung.cancel()
            if not doing.done():
                now = await subject.look(world)
                given_up = now.first != action and doing.cancel()
    if failures and not given_up:
        raise failures[0]
    return not given_up
