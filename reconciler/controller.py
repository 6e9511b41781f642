"""One task and one bell per name: wake, converge, retry politely, look again.

The controller never learns why it was woken and never gives up. A change ends a nap between two tries as soon as it
puts anything but the failed action first; what fails is told to the world and tried again under capped back-off.
"""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_never

from reconciler.converge import ActionFailed, Report, Subject, World, converge
from reconciler.desired import App
from reconciler.plan import Plan, state_when_failing


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Seconds between tries: `first_s`, doubling, never over `cap_s`, 25% of jitter either way."""

    first_s: float = 1.0
    cap_s: float = 60.0

    def delay_s(self, tries: int, noise: float) -> float:
        """The nap after the given number of failed tries (1 or more); `noise` is between 0 and 1."""
        return float(min(self.cap_s, self.first_s * 2.0 ** min(tries - 1, 32)) * (0.75 + 0.5 * noise))


class Overtaken(Exception):
    """The failed action is no longer the first thing to do: the nap is over and the count of tries starts anew."""


class Controller:
    """Keeps every name it was ever told of converging, each in a task of its own inside `tasks`."""

    def __init__(
        self, world: World, tasks: asyncio.TaskGroup, *, backoff: Backoff, resync_s: float, noise: random.Random
    ) -> None:
        self._world = world
        self._tasks = tasks
        self._backoff = backoff
        self._resync_s = resync_s
        self._noise = noise
        self._asked: dict[str, App] = {}
        self._bells: dict[str, asyncio.Event] = {}
        self._failed: dict[str, ActionFailed] = {}

    def replace(self, asked: Mapping[str, App], also: frozenset[str] = frozenset()) -> None:
        """Ask for exactly these apps from now on; `also` names what may have left traces, to be looked at too."""
        before, self._asked = self._asked, dict(asked)
        for name in sorted({*before, *asked, *also}):
            if before.get(name) != asked.get(name) or name not in self._bells:
                self.wake(name)

    def wake(self, name: str) -> None:
        """Look at this name soon. Why, nobody asks."""
        bell = self._bells.get(name)
        if bell is None:
            bell = self._bells[name] = asyncio.Event()
            self._tasks.create_task(self._keep(name, bell), name=f"keep {name}")
        bell.set()

    async def _keep(self, name: str, bell: asyncio.Event) -> None:
        subject = Subject(name=name, asked=partial(self._asked_of, name), bell=bell)
        while True:
            try:
                done: Plan = await self._retrying(subject)(converge, subject, self._world)
            except Overtaken:
                continue
            self._failed.pop(name, None)
            if self._asked_of(name) is None and not bell.is_set():
                del self._bells[name]
                return
            await self._rest(bell, done.look_again_at)

    def _asked_of(self, name: str) -> App | None:
        return self._asked.get(name)

    def _retrying(self, subject: Subject) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception_type(ActionFailed),
            stop=stop_never,
            wait=self._delay_s,
            before_sleep=partial(self._tell, subject),
            sleep=partial(self._nap, subject),
        )

    def _delay_s(self, tries: RetryCallState) -> float:
        return self._backoff.delay_s(tries.attempt_number, self._noise.random())

    def _tell(self, subject: Subject, tries: RetryCallState) -> None:
        failed = tries.outcome and tries.outcome.exception()
        assert isinstance(failed, ActionFailed) and tries.next_action is not None
        self._failed[subject.name] = failed
        planned = subject.plan(self._world)
        self._world.report(
            subject.name,
            Report(
                state=state_when_failing(self._world.observe(subject.name)),
                message=failed.reason,
                wanted=planned.wanted,
                next_try_at=self._world.now() + tries.next_action.sleep,
                failures=tries.attempt_number,
            ),
        )

    async def _nap(self, subject: Subject, seconds: float) -> None:
        failed = self._failed[subject.name].action
        try:
            async with asyncio.timeout(seconds):
                while subject.plan(self._world).first == failed:
                    await subject.bell.wait()
        except TimeoutError:
            return
        raise Overtaken

    async def _rest(self, bell: asyncio.Event, look_again_at: float | None) -> None:
        """Sleep until woken, until time alone may have changed the plan, or for the periodic second look."""
        seconds = self._resync_s * (0.75 + 0.5 * self._noise.random())
        if look_again_at is not None:
            seconds = min(seconds, max(0.0, look_again_at - self._world.now()))
        try:
            async with asyncio.timeout(seconds):
                await bell.wait()
        except TimeoutError:
            pass
