"""One task per name: wake, converge, retry politely, look again.

The controller never learns why it was woken and never gives up. A change ends a nap between two tries as soon as it
puts anything but the failed action first; what fails is told to the world and tried again under capped back-off. A
mistake of ours that one name runs into is told and survived like a failure, and reaches no other.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from reconciler.convergence.converge import Action, ActionFailed, Asked, Key, Plan, Report, World, converge
from reconciler.convergence.wake_queue import WakeQueue

if TYPE_CHECKING:
    from tenacity import AsyncRetrying, RetryCallState


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Seconds between tries: `first_s`, doubling, never over `cap_s`, 25% of jitter either way."""

    first_s: float = 1.0
    cap_s: float = 60.0

    def delay_s(self, tries: int, noise: float) -> float:
        """The nap after the given number of failed tries (1 or more); `noise` is between 0 and 1."""
        return float(min(self.cap_s, self.first_s * 2.0 ** min(tries - 1, 32)) * (0.75 + 0.5 * noise))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failing:
    """How an action failed last, how many times in a row it did, and until when it is not tried again."""

    failure: ActionFailed
    tries: int
    until: float


class Superseded(Exception):
    """The failed action is no longer the first thing to do, so that the nap is over; for that action it goes on."""


class Controller:
    """Keeps every name it was ever told of converging, each in a task of its own inside `tasks`."""

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        world: World,
        wakeups: WakeQueue,
        tasks: asyncio.TaskGroup,
        *,
        backoff: Backoff,
        resync_s: float,
        noise: random.Random,
    ) -> None:
        self._world = world
        self._wakeups = wakeups
        self._tasks = tasks
        self._backoff = backoff
        self._resync_s = resync_s
        self._noise = noise
        self._asked: dict[str, Asked] = {}
        self._keeping: set[asyncio.Task[None]] = set()
        self._failing: dict[str, _Failing] = {}

    def replace(self, asked: Mapping[str, Asked], also: frozenset[str] = frozenset()) -> None:
        """Ask for exactly these from now on; `also` names what may have left traces, to be looked at too."""
        before, self._asked = self._asked, dict(asked)
        self._wakeups.open(self._start)
        for name in sorted({*before, *asked, *also}):
            if before.get(name) != asked.get(name) or not self._wakeups.is_served(name):
                self._wakeups.wake(name)

    async def wait(self) -> None:
        """Do nothing more about any name, whatever wakes it; what was under way is cancelled."""
        self._wakeups.close()
        keeping = tuple(self._keeping)
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)

    def _start(self, name: str, wakeup: asyncio.Event) -> None:
        keeping = self._tasks.create_task(self._run_key(name, wakeup), name=f"keep {name}")
        self._keeping.add(keeping)
        keeping.add_done_callback(self._keeping.discard)

    async def _run_key(self, name: str, bell: asyncio.Event) -> None:
        subject = Key(name=name, asked=partial(self._asked_of, name), wakeup=bell)
        while True:
            try:
                done = await self._converged(subject, partial(self._backing_off, name))
                self._failing.pop(name, None)
                if self._asked_of(name) is None and not bell.is_set() and done.recheck_at is None:
                    self._wakeups.release(name)
                    return
                await self._wait(bell, done.recheck_at, partial(self._is_still, done, subject))
            except Superseded:
                continue
            except Exception as mistake:  # noqa: BLE001  whatever it is, it must not end the others' tasks
                await self._survive(subject, mistake)

    def _asked_of(self, name: str) -> Asked | None:
        return self._asked.get(name)

    async def _converged(self, subject: Key, held: Callable[[Action], ActionFailed | None]) -> Plan:
        """The plan that is left; most wakes change nothing, and what retries is made only once something failed."""
        try:
            return await converge(subject, self._world, held)
        except ActionFailed as failed:
            failures = iter((failed,))

        async def again() -> Plan:
            for failure in failures:
                raise failure
            return await converge(subject, self._world, held)

        done: Plan = await self._retrying(subject)(again)
        return done

    def _retrying(self, subject: Key) -> "AsyncRetrying":
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_never

        return AsyncRetrying(
            retry=retry_if_exception_type(ActionFailed),
            stop=stop_never,
            wait=partial(self._delay_s, subject),
            before_sleep=partial(self._tell, subject),
            sleep=partial(self._back_off, subject),
        )

    def _backing_off(self, name: str, action: Action) -> ActionFailed | None:
        """The failure of an action whose nap was only interrupted: what came in between does not make it work."""
        failing = self._failing.get(name)
        if failing is None or failing.failure.action != action or self._world.now() >= failing.until:
            return None
        return failing.failure

    def _delay_s(self, subject: Key, tries: "RetryCallState") -> float:
        """Counts the tries of one action: another one that fails after it has a count of its own."""
        failure, now = _failure(tries), self._world.now()
        before = self._failing.get(subject.name)
        if before is not None and before.failure is failure:
            return max(0.0, before.until - now)
        again = before is not None and before.failure.action == failure.action
        count = before.tries + 1 if before is not None and again else 1
        delay_s = self._backoff.delay_s(count, self._noise.random())
        self._failing[subject.name] = _Failing(failure=failure, tries=count, until=now + delay_s)
        return delay_s

    def _tell(self, subject: Key, tries: "RetryCallState") -> None:
        assert tries.next_action is not None
        planned = subject.plan(self._world)
        self._world.report(
            subject.name,
            Report(
                state=self._world.when_failing(subject.name),
                message=_failure(tries).reason,
                wanted=planned.wanted,
                next_try_at=self._world.now() + tries.next_action.sleep,
                failures=self._failing[subject.name].tries,
                failed_now=True,
            ),
        )

    async def _back_off(self, subject: Key, seconds: float) -> None:
        failing = self._failing[subject.name]
        until = self._world.now() + seconds
        while self._world.now() < until:
            planned = await subject.observe(self._world)
            if planned.first != failing.failure.action:
                raise Superseded
            await subject.woken(min(until, planned.recheck_at or until))
        self._failing[subject.name] = replace(failing, until=self._world.now())

    async def _survive(self, subject: Key, mistake: Exception) -> None:
        """Show a mistake of ours, and look again after the longest nap; after the shortest when woken."""
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({"message": f"a mistake of ours stops {subject.name}", "exception": mistake})
        again_at = self._world.now() + self._backoff.cap_s
        with contextlib.suppress(Exception):  # telling may be what the mistake is in
            message = f"a mistake in reconciler itself, please report it: {mistake!r}"
            self._world.report(
                subject.name,
                Report(state="failing", message=message, next_try_at=again_at, failures=1, failed_now=True),
            )
        await asyncio.sleep(self._backoff.first_s)
        await self._wait(subject.wakeup, again_at, lambda: False)

    def _is_still(self, done: Plan, subject: Key) -> bool:
        """True when the World says that nothing has changed at all: by making the very plan of which all is done."""
        return subject.plan(self._world) is done and not done.immediate

    async def _wait(self, bell: asyncio.Event, look_again_at: float | None, is_known: Callable[[], bool]) -> None:
        """Sleep until woken by what is not known, until time alone may change the plan, or until the periodic look."""
        seconds = self._resync_s * (0.75 + 0.5 * self._noise.random())
        if look_again_at is not None:
            seconds = min(seconds, max(0.0, look_again_at - self._world.now()))
        try:
            async with asyncio.timeout(seconds):
                await bell.wait()
                while is_known():
                    bell.clear()
                    await bell.wait()
        except TimeoutError:
            pass


def _failure(tries: "RetryCallState") -> ActionFailed:
    failed = tries.outcome and tries.outcome.exception()
    assert isinstance(failed, ActionFailed)
    return failed
