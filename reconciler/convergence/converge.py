"""Converge one name: observe, plan, do the first action, observe again, until no action is left.

Nothing is remembered between two rounds, and an action is cancelled as soon as it is no longer the first one.
"""

import asyncio
from collections.abc import Callable

from reconciler.convergence.world import ACTION_FAILED, NO_EFFECT, NO_FILES_LEFT, Action, Asked, Plan, Report, World
from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import without_files


class ActionFailed(Exception):
    """An action failed: which one, a message for operators, and a reason for programs."""

    def __init__(self, action: Action, message: str, reason: str = ACTION_FAILED) -> None:
        super().__init__(message)
        self.action = action
        self.message = message
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One name in convergence: what is desired of it now, and the event that wakes it.

    `counted` is called with each step of work on it.
    """

    name: str
    asked: Callable[[], Asked | None]
    wakeup: asyncio.Event
    counted: Callable[[], None] = lambda: None

    async def observe(self, world: World) -> Plan:
        """Take note of the wake-up, do the immediate actions, and return the plan as things stand then."""
        self.wakeup.clear()
        self.counted()
        planned = self.plan(world)
        for action in planned.immediate:
            await world.do(self.name, action)
        return self.plan(world) if planned.immediate else planned

    def plan(self, world: World) -> Plan:
        """Return the plan as things stand this instant, without an effect."""
        return world.plan(self.name, self.asked())

    async def woken(self, until: float | None) -> None:
        """Wait for the next wake-up, or for a moment of the loop's clock."""
        self.counted()
        try:
            async with asyncio.timeout_at(until):
                await self.wakeup.wait()
        except TimeoutError:
            pass
        finally:
            self.counted()


async def converge(
    key: Key,
    world: World,
    backing_off: Callable[[Action], ActionFailed | None],
    retried: Callable[[Plan], Report | None],
) -> Plan:
    """Do the first action of plan after plan until one has none, and return that one; raises ActionFailed.

    An action for which `backing_off` returns a failure is not tried yet: that failure is raised again. `retried`
    returns what to report of a plan whose first action failed before. An action that succeeds and is still the first
    one has failed, too, as it would be repeated without a pause. A name of which nothing is desired and nothing is left
    is not reported, since a report leaves a record.
    """
    done: tuple[Action, int] | None = None
    while True:
        planned = await key.observe(world)
        if planned.first is None and key.asked() is None and not planned.reportable:
            return planned
        failed = None if planned.first is None else backing_off(planned.first)
        if failed is not None:
            raise failed
        world.report(key.name, retried(planned) or _report(planned))
        if planned.first is None:
            return planned
        doing = (planned.first, planned.first.attempt)
        if doing == done:
            raise ActionFailed(planned.first, f"to {planned.first} made no difference", NO_EFFECT)
        done = doing if await _done_while_first(key, world, planned) else None


def _report(planned: Plan) -> Report:
    return Report(
        state=planned.state,
        reason=planned.reason,
        message=planned.message,
        wanted=planned.wanted,
        next_try_at=planned.retry_at,
        failures=planned.failures,
        withheld=planned.withheld,
        settled=planned.settled,
    )


async def _done_while_first(key: Key, world: World, planned: Plan) -> bool:
    """Do a plan's first action; cancel it, and return False, when a later plan has another first action.

    A new plan is made at each wake-up, and when time alone may have changed it; what it says differently is reported.
    """
    action = planned.first
    assert action is not None
    failures: list[ActionFailed] = []
    superseded = False

    async def effect() -> None:
        key.counted()
        try:
            await world.do(key.name, action)
        except Exception as error:  # noqa: BLE001  it rises to the controller as an ActionFailed
            full = without_files(error)
            failure = ActionFailed(
                action, full or str(error) or type(error).__name__, NO_FILES_LEFT if full else ACTION_FAILED
            )
            failure.__cause__ = error
            failures.append(failure)
        finally:
            key.counted()

    async with asyncio.TaskGroup() as group:
        doing = group.create_task(effect())
        while not doing.done() and not superseded:
            woken = group.create_task(key.woken(planned.recheck_at))
            await asyncio.wait((doing, woken), return_when=asyncio.FIRST_COMPLETED)
            woken.cancel()
            if not doing.done():
                before, planned = planned, await key.observe(world)
                superseded = planned.first != action and doing.cancel()
                if not superseded and (planned.state, planned.message) != (before.state, before.message):
                    world.report(key.name, _report(planned))
    if failures and not superseded:
        raise failures[0]
    return not superseded
