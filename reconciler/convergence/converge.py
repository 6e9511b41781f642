"""Observe, plan, do the first thing, look again: until nothing is left to do for one name.

What the name stands for, an app or a service, only its World knows. Nothing is remembered between two rounds, and an
action is given up as soon as it is no longer the first thing to do.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

# What is asked of a name: an app, a service; convergence only hands it on.
Asked: TypeAlias = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What to tell an operator about an app or a service: a message for people, a reason for programs.

    `next_try_at` is monotonic seconds, None when nothing is being retried; `failures` counts the tries that failed in
    a row, the last of them just now when `failed_now`; `settled` means that nothing is left to do. `phase` is the
    message of long work without the time it has taken, so it changes only when the work does.
    """

    state: str
    message: str = ""
    reason: str = ""
    wanted: str | None = None
    next_try_at: float | None = None
    failures: int = 0
    failed_now: bool = False
    settled: bool = False
    phase: str = ""


class Action(Protocol):
    """Something that can be done; compares by what it does."""

    @property
    def cause(self) -> str:
        """Why, in an operator's words."""
        ...

    @property
    def attempt(self) -> int:
        """How often it will have failed if it fails now; 0 when its World does not count that."""
        ...


class Plan(Protocol):
    """What to do, in order; what to call it meanwhile; and when time alone could change the answer."""

    @property
    def actions(self) -> Sequence[Action]:
        """One after the other."""
        ...

    @property
    def immediate(self) -> Sequence[Action]:
        """Done beside whatever else is being done: it takes no time and cannot fail."""
        ...

    @property
    def first(self) -> Action | None:
        """The action to do now, None when nothing is left."""
        ...

    @property
    def state(self) -> str:
        """What to call it."""
        ...

    @property
    def message(self) -> str:
        """Why, for an operator."""
        ...

    @property
    def wanted(self) -> str | None:
        """The id of what should be."""
        ...

    @property
    def recheck_at(self) -> float | None:
        """Monotonic seconds."""
        ...

    @property
    def settled(self) -> bool:
        """True when nothing is left to do."""
        ...

    @property
    def reportable(self) -> bool:
        """True when something stays that nobody asks for, which is worth telling."""
        ...

    @property
    def failures(self) -> int:
        """How often what is wanted failed in a row."""
        ...


class World(Protocol):
    """What convergence sees and touches. Names are all it needs to know of what is there."""

    def now(self) -> float:
        """Monotonic seconds, the same clock as the event loop's."""
        ...

    def plan(self, name: str, asked: Asked | None) -> Plan:
        """The difference between what is asked and what is true right now; cheap, and without an effect.

        The same object as before says that nothing the plan is made from has changed.
        """
        ...

    def when_failing(self, name: str) -> str:
        """What to call it while its next action keeps failing."""
        ...

    async def do(self, name: str, action: Any) -> None:
        """Carry out one action; raises when it cannot. May be cancelled at any await."""
        ...

    def report(self, name: str, report: Report) -> None:
        """Tell whoever watches how it stands."""
        ...


class ActionFailed(Exception):
    """An action could not be done: which one, and why, in words for `status`."""

    def __init__(self, action: Action, reason: str) -> None:
        super().__init__(reason)
        self.action = action
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One name's side of convergence: what is asked of it now, and the bell that says "look again"."""

    name: str
    asked: Callable[[], Asked | None]
    wakeup: asyncio.Event

    async def observe(self, world: World) -> Plan:
        """Answer the bell, do what is to be done at once, and return the plan as things stand then."""
        self.wakeup.clear()
        now = self.plan(world)
        for action in now.immediate:
            await world.do(self.name, action)
        return self.plan(world) if now.immediate else now

    def plan(self, world: World) -> Plan:
        """The plan as things stand this instant, without an effect."""
        return world.plan(self.name, self.asked())

    async def woken(self, until: float | None) -> None:
        """Wait for the bell, or for a moment of the loop's clock."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self.wakeup.wait()


async def converge(subject: Key, world: World, held: Callable[[Action], ActionFailed | None]) -> Plan:
    """Do the first action of plan after plan until one has none, and return that one; raises ActionFailed.

    An action that `held` has a failure for is not tried yet: that failure is raised again. An action that works and is
    still the first thing to do has failed, too: else it would be done without a pause. Of what nobody asks for
    and of which nothing is left nothing is told, as that would be a trace again.
    """
    done: tuple[Action, int] | None = None
    while True:
        now = await subject.observe(world)
        if now.first is None and subject.asked() is None and not now.reportable:
            return now
        world.report(
            subject.name,
            Report(
                state=now.state,
                message=now.message,
                wanted=now.wanted,
                next_try_at=now.recheck_at if now.failures and not now.settled else None,
                failures=now.failures,
                settled=now.settled,
            ),
        )
        if now.first is None:
            return now
        failed = held(now.first)
        if failed is not None:
            raise failed
        doing = (now.first, now.first.attempt)
        if doing == done:
            raise ActionFailed(now.first, f"to {now.first} made no difference")
        done = doing if await _done_while_first(subject, world, now) else None


async def _done_while_first(subject: Key, world: World, now: Plan) -> bool:
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
            rung = group.create_task(subject.woken(now.recheck_at))
            await asyncio.wait((doing, rung), return_when=asyncio.FIRST_COMPLETED)
            rung.cancel()
            if not doing.done():
                now = await subject.observe(world)
                given_up = now.first != action and doing.cancel()
    if failures and not given_up:
        raise failures[0]
    return not given_up
