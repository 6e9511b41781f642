"""Keep every name converging: one task and one wake-up event per name, and back-off between attempts.

The controller never learns why it was woken and never gives up. An action that fails is reported and retried under
capped back-off, which ends as soon as another action comes first. An internal error that one name runs into is
reported and survived like a failure, and reaches no other name.
"""

import asyncio
import contextlib
import random
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from reconciler.convergence.backoff import Backoff
from reconciler.convergence.converge import ActionFailed, Key, converge
from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.convergence.ticks import next_tick
from reconciler.convergence.wake_queue import WakeQueue
from reconciler.convergence.world import INTERNAL_ERROR, NO_FILES_LEFT, Action, Asked, Plan, Report, World
from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import as_internal, without_files

if TYPE_CHECKING:
    from tenacity import AsyncRetrying, RetryCallState

_RETRY = "trying again"
_NO_FILES_S = 4.0
# A resync looks at the names in so many parts, each at a tick that all Worlds share.
_PARTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failing:
    """The last failure of an action, how many there were in a row, until when it is not tried again; if it was told."""

    failure: ActionFailed
    count: int
    until: float
    reported: bool = False


class Controller:
    """Keeps every name that was ever desired converging, each in a task of its own inside `tasks`."""

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        world: World,
        wakeups: WakeQueue,
        tasks: StandingTasks,
        *,
        backoff: Backoff,
        resync_s: float,
        noise: random.Random,
    ) -> None:
        self._world = world
        self._wakeups = wakeups
        self._tasks = tasks
        self._backoff = backoff
        self._no_files_s = min(_NO_FILES_S, backoff.cap_s)
        self._resync_s = resync_s
        self._noise = noise
        self._resyncing: asyncio.Task[None] | None = None
        self._asked: dict[str, Asked] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._failing: dict[str, _Failing] = {}

    def replace(self, asked: Mapping[str, Asked], also: frozenset[str] = frozenset()) -> None:
        """Desire exactly these from now on; `also` names what may have left records, to be converged too."""
        before, self._asked = self._asked, dict(asked)
        self._wakeups.open(self._start)
        if self._resyncing is None:
            self._resyncing = self._kept("look at every name now and then", self._resync)
        for name in sorted({*before, *asked, *also}):
            was, now = before.get(name), asked.get(name)
            if (was is not now and was != now) or not self._wakeups.is_served(name):
                self._wakeups.wake(name)

    def failure_of(self, name: str, planned: Plan) -> ActionFailed | None:
        """Return how the first action of a plan failed last; None if it did not, or something else is tried."""
        failing = self._failing.get(name)
        return failing.failure if failing is not None and failing.failure.action == planned.first else None

    async def wait(self) -> None:
        """Cancel what is under way, and do nothing more about any name, whatever wakes it."""
        self._wakeups.close()
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _start(self, name: str, wakeup: asyncio.Event) -> None:
        self._kept(f"keep {name}", partial(self._run_key, name, wakeup))

    def _kept(self, name: str, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        running = self._tasks.keep(name, run)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return running

    async def _resync(self) -> None:
        """Have each name looked at once in the time of a resync, whether or not anything was noticed."""
        while True:
            for part in range(_PARTS):
                await next_tick(self._resync_s / _PARTS)
                for name in self._wakeups.served_names():
                    if zlib.crc32(name.encode()) % _PARTS == part:
                        self._wakeups.look_again(name)

    async def _run_key(self, name: str, wakeup: asyncio.Event) -> None:
        count = self._wakeups.count_work
        key = Key(name=name, asked=lambda: self._asked.get(name), wakeup=wakeup, counted=count)
        while not await self._round(key):
            pass
        self._wakeups.release(name)

    async def _round(self, key: Key) -> bool:
        """Converge a name, then wait as the outcome demands; True when nothing is desired and nothing left."""
        try:
            done = await self._converged(key)
            self._failing.pop(key.name, None)
            if key.asked() is None and not key.wakeup.is_set() and done.recheck_at is None:
                return True
            await self._wait(key, done.recheck_at, partial(self._is_unchanged, key, done))
        except Exception as error:  # noqa: BLE001  whatever it is, it must not end the others' tasks
            await self._survive(key, error)
        return False

    async def _converged(self, key: Key) -> Plan:
        """Return the plan of which everything is done; once an action has failed, tenacity paces the attempts."""
        attempt = partial(
            converge, key, self._world, partial(self._backing_off, key.name), partial(self._retried, key.name)
        )
        try:
            return await attempt()
        except ActionFailed as failure:
            self._delay_s(key, failure)
        return await self._retrying(key)(attempt)

    def _retrying(self, key: Key) -> "AsyncRetrying":
        """Retry for ever; built only once an action failed, as most wakes change nothing."""
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_never

        return AsyncRetrying(
            retry=retry_if_exception_type(ActionFailed),
            stop=stop_never,
            wait=lambda attempt: self._delay_s(key, _failure_of(attempt)),
            before_sleep=lambda _: self._report(key),
            sleep=partial(self._back_off, key),
        )

    def _backing_off(self, name: str, action: Action) -> ActionFailed | None:
        """Return the failure of an action that is still in back-off; being woken does not end the back-off."""
        failing = self._failing.get(name)
        if failing is None or failing.failure.action != action or self._world.now() >= failing.until:
            return None
        return failing.failure

    def _retried(self, name: str, planned: Plan) -> Report | None:
        """Return the report of a plan that tries once more what failed: the failure, until that works."""
        failing = self._failing.get(name)
        if failing is None or planned.first is None or planned.first.counted_as != failing.failure.action.counted_as:
            return None
        return Report(
            state=self._world.when_failing(name),
            reason=failing.failure.reason,
            message=f"{failing.failure.message}; {_RETRY}",
            wanted=planned.wanted,
            failures=failing.count,
            phase=_RETRY,
        )

    async def _back_off(self, key: Key, seconds: float) -> None:
        """Wait until the failed action may be tried again, or is no longer the first one."""
        failing = self._failing[key.name]
        until = self._world.now() + seconds
        while self._world.now() < until:
            planned = await key.observe(self._world)
            if planned.first != failing.failure.action:
                return
            await key.woken(min(until, planned.recheck_at or until))
        self._failing[key.name] = replace(failing, until=self._world.now())

    def _delay_s(self, key: Key, failure: ActionFailed) -> float:
        """Count the failures of one action, and return the seconds until it is tried again.

        Another action that fails after it has a count of its own.
        """
        now = self._world.now()
        before = self._failing.get(key.name)
        if before is not None and before.failure is failure:
            return max(0.0, before.until - now)
        again = before is not None and before.failure.action.counted_as == failure.action.counted_as
        count = before.count + 1 if before is not None and again else 1
        delay_s = self._backoff.delay_s(count, self._noise.random())
        if failure.reason == NO_FILES_LEFT:
            delay_s = min(delay_s, self._no_files_s)
        self._failing[key.name] = _Failing(failure=failure, count=count, until=now + delay_s)
        return delay_s

    def _report(self, key: Key) -> None:
        failing = self._failing[key.name]
        self._world.report(
            key.name,
            Report(
                state=self._world.when_failing(key.name),
                reason=failing.failure.reason,
                message=failing.failure.message,
                wanted=key.plan(self._world).wanted,
                next_try_at=failing.until,
                failures=failing.count,
                failed_now=not failing.reported,
            ),
        )
        self._failing[key.name] = replace(failing, reported=True)

    async def _survive(self, key: Key, error: Exception) -> None:
        """Report an internal error, and converge again after the longest back-off; after the shortest when woken.

        No room for one more open file is none, and may pass at any moment: what failed then is tried again soon.
        """
        full = without_files(error)
        if not full:
            loop = asyncio.get_running_loop()
            loop.call_exception_handler({"message": f"cannot keep {key.name} as desired", "exception": error})
        again_at = self._world.now() + (self._no_files_s if full else self._backoff.cap_s)
        report = Report(
            state="failing",
            reason=NO_FILES_LEFT if full else INTERNAL_ERROR,
            message=full or as_internal(error),
            next_try_at=again_at,
            failures=1,
            failed_now=True,
        )
        with contextlib.suppress(Exception):  # reporting may be what the error is in
            self._world.report(key.name, report)
        await asyncio.sleep(self._backoff.first_s)
        await self._wait(key, again_at, None)

    def _is_unchanged(self, key: Key, done: Plan) -> bool:
        """Whether nothing at all has changed: the World returns the very plan of which everything is done."""
        return key.plan(self._world) is done and not done.immediate

    async def _wait(self, key: Key, recheck_at: float | None, is_unchanged: Callable[[], bool] | None) -> None:
        """Sleep until a wake-up that brings a change, or a time that may change the plan."""
        seconds = None if recheck_at is None else max(0.0, recheck_at - self._world.now())
        if is_unchanged is not None:
            if key.wakeup.is_set() and is_unchanged():
                key.wakeup.clear()
            self._wakeups.wake_unless(key.name, is_unchanged)
        try:
            async with asyncio.timeout(seconds):
                await key.wakeup.wait()
        except TimeoutError:
            pass
        finally:
            if is_unchanged is not None:
                self._wakeups.wake_always(key.name)


def _failure_of(attempt: "RetryCallState") -> ActionFailed:
    failure = attempt.outcome and attempt.outcome.exception()
    assert isinstance(failure, ActionFailed)
    return failure
