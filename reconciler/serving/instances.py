"""The instances of apps' web servers: started and waited for, scaled, stopped.

Nothing here decides; it only makes an action true.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from reconciler.planning.address import Address
from reconciler.planning.apps.observed import Instance
from reconciler.serving import failed_start, worker_signals
from reconciler.serving.adoption import Adoption
from reconciler.serving.confinements import Confinements
from reconciler.serving.live_instance import CannotStart, LiveInstance
from reconciler.serving.programs.gunicorn import InstancePaths
from reconciler.serving.programs.program import Program, StaysAlive, WorkersReady
from reconciler.serving.python_failures import depends_on_python
from reconciler.serving.supervised import SupervisedInstances

_SECOND_LOOK_S = 1.0
_KILL_MARGIN_S = 2.0
_SETTLED_S = 5.0
_SOON_S = 0.5


class Instances(SupervisedInstances):
    """Every instance of this state directory; what has to be waited for is of web servers only."""

    def remark(self, app: str, instance: str) -> str:
        """Return what the worker class of an instance cannot do, as the end of a sentence."""
        live = self.live(app, instance)
        return "" if live is None else live.remark()

    def work(self, app: str, instance: str) -> tuple[tuple[int, float], ...]:
        """Return, for each worker that counts, its requests in flight and when it last answered one."""
        live = self.live(app, instance)
        return () if live is None else live.work()

    def has_our_user(self, app: str) -> bool:
        """Tell whether an isolated instance of an app runs as the daemon's user."""
        keys = (app, *self.process_keys(app))
        return any(live.is_isolated_as_us for key in keys for live in self.lives(key))

    def confine_by(self, confinements: Confinements) -> None:
        """Have isolated instances confined by these, as users that are claimed for this daemon."""
        confinements.claim_users()
        self.confinements = confinements
        self.app_users = confinements.app_users
        confinements.has_our_user = confinements.builds.has_our_user = self.has_our_user
        confinements.is_open = self.is_open

    def is_alive(self, app: str) -> bool:
        """Whether anything of an app runs, be it only to answer its last requests."""
        return any(each.end is None for each in self.of(app))

    def is_open(self, app: str) -> bool:
        """Tell whether something of an app runs without isolation, or is about to."""
        lives = (live for key in (app, *self.process_keys(app)) for live in self.lives(key))
        return any(live.end is None and live.record.pid != 0 and not live.record.isolation for live in lives)

    def forget(self, live: LiveInstance, *, soon: bool = False) -> None:
        """Forget an instance, and end whatever is left of it; an isolated one gets what it has written."""
        super().forget(live, soon=soon)
        if not live.record.isolation and self.confinements is not None:
            self.confinements.settle(live.record.app)

    def remove_unused_soon(self, app: str, places: Callable[[str], InstancePaths]) -> None:
        """Remove in a moment what nothing uses by then: what follows a crash uses the same configuration again."""
        asyncio.get_running_loop().call_later(_SOON_S, lambda: self.remove_unused(app, places(app)))

    def restore(
        self, places: Callable[[str], InstancePaths], keep_listener: Callable[[str, Address, int, str], None]
    ) -> list[Adoption]:
        """Adopt the instances that an earlier daemon left, and go on with what it was giving to them."""
        found = super().restore(places, keep_listener)
        if self.confinements is not None and self.app_users():
            for app in {live.record.app for live in self.all()}:
                self.confinements.settle(app)
        return found

    def on_wakeup(self, app: str) -> None:
        """Read what the workers of an app have to say, and look again at a number that is not the one on record."""
        super().on_wakeup(app)
        for live in self.lives(app):
            if not live.unsettled and self._other_number(live) is not None:
                live.unsettled = True
                asyncio.get_running_loop().call_later(_SETTLED_S, self._settle_workers, live)

    def _settle_workers(self, live: LiveInstance) -> None:
        """Put on record how many workers an instance keeps, be it by another's signal or by one of ours that came late.

        That is no more often than every few seconds: the app itself can write that number.
        """
        live.unsettled = False
        other = self._other_number(live)
        if other is not None:
            self._set_workers(live, other)
            self._wakeups.wake(live.record.app)

    def _other_number(self, live: LiveInstance) -> int | None:
        """Return how many workers an instance was told to keep if the record says something else, None otherwise."""
        record = live.record
        if not live.runs or not record.workers or record.ready_at is None or live.scaling:
            return None
        workers = live.workers_set()
        return None if workers == record.workers else workers

    def mark_detached(self, app: str, instance: str) -> None:
        """Note that the listener of this instance is one the daemon does not hold."""
        self._lives[app][instance].detached = True

    def mark_unhealthy(self, app: str, instance: str, reason: str | None) -> None:
        """Note why an instance's probes fail, None once they succeed again."""
        live = self.live(app, instance)
        if live is not None:
            live.unhealthy = reason

    async def start(
        self, program: Program, places: InstancePaths, listeners: Sequence[int], *, since: float = float("-inf")
    ) -> Instance:
        """Start an instance of the program's revision, or wait for the one that is starting. Raises CannotStart.

        One that is unhealthy, lost a worker, or was started before `since` is to be replaced, and not waited for.
        """
        if not program.argv:
            return self._in_force(program, places)
        live = self._starting(program, since) or await self.launch(program, places, listeners)
        deadline = live.record.started_at + program.start_timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                while not live.is_lost() and (wait_s := _seconds_to_look(program, live)) > 0:
                    if not await live.change(wait_s):
                        live.update_from_workers()  # a worker that wakes nobody has still written
                    if live.note_importing(failed_start.importing(program, live)):
                        self._wakeups.wake(program.app)
        except TimeoutError:
            live.failed_start = failed_start.why_late(program, live)
        if live.failed_start is None and live.is_lost():
            live.failed_start = failed_start.why(program, live)
        if live.failed_start is not None:
            if live.end is None and not live.close_gate():
                await self._finished(live)
            of_python = depends_on_python(live.refusal() or "")
            await self._kill(live)
            raise CannotStart(live.failed_start, of_python=of_python)
        if live.record.ready_at is None:
            live.mark_ready()
            live.note_importing(None)
            self._records.put_instance(live.record)
        return live.observed()

    def _in_force(self, program: Program, places: InstancePaths) -> Instance:
        """Put the revision of an app without a web server on record, as an instance that no process runs for."""
        live = self.recorded(program, places)
        live.mark_ready()
        self.put(live, pid=0, ticks=0)
        return live.observed()

    async def scale(self, app: str, instance: str, workers: int) -> None:
        """Have so many workers, each past its gate. Raises CannotScale; the instance serves all the time.

        Interrupted anywhere, the record says how many workers the master was last told to keep.
        """
        live = self.live(app, instance)
        if live is None or not live.runs:
            return
        live.scaling = True
        try:
            await worker_signals.scale(live, workers)
        except BaseException:
            self._set_workers(live, live.workers_set())
            raise
        finally:
            live.scaling = False
        self._set_workers(live, workers)

    async def stop(self, app: str, instance: str, *, at_once: bool = False) -> str:
        """End an instance by SIGTERM, or by SIGKILL when its stop timeout is over, and forget it; return how it ended.

        One that is to end `at_once` gets SIGKILL, unless one of its workers accepts already, before all are ready.
        """
        live = self.live(app, instance)
        if live is None:
            return "stopped"
        if live.record.stopping_since is None:
            live.record = replace(live.record, stopping_since=time.monotonic())
            self._records.put_instance(live.record)
        how = "stopped" if live.record.has_program else "is in force no more"
        if live.process is not None and live.end is None:
            never_served = at_once and live.close_gate()
            how = "killed: it never served" if never_served else await self._finished(live)
            await self._kill(live)
        self.forget(live)
        return how

    async def _finished(self, live: LiveInstance) -> str:
        """Tell an instance to finish its requests, and give it its stop timeout; return how that ended."""
        assert live.process is not None
        live.process.signal(signal.SIGTERM)
        began = live.record.stopping_since or time.monotonic()
        deadline = began + live.record.stop_timeout_s + _KILL_MARGIN_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await live.ended()
        if live.end is None or time.monotonic() - began >= max(1.0, live.record.stop_timeout_s):
            # gunicorn itself kills its workers when that time is over, and ends
            return f"was killed: it did not stop within {live.record.stop_timeout_s:g} s of SIGTERM"
        return "stopped"

    def _starting(self, program: Program, since: float) -> LiveInstance | None:
        for live in self.lives(program.app):
            record = live.record
            if live.end is not None or live.detached or record.stopping_since is not None:
                continue
            sound = live.unhealthy is None and live.failed_start is None and not live.workers_died and not live.outgrown
            if record.revision == program.revision and sound and record.started_at >= since:
                return live
        return None

    def _set_workers(self, live: LiveInstance, workers: int | None) -> None:
        known = self.live(live.record.key, live.record.id)
        if workers is not None and workers != live.record.workers and known is live:
            live.record = replace(live.record, workers=workers)
            self._records.put_instance(live.record)


def _seconds_to_look(program: Program, live: LiveInstance) -> float:
    """Return how long to wait before looking again at an instance that is starting, 0 once it is ready."""
    match program.readiness:
        case WorkersReady():
            return 0.0 if live.workers_passed >= live.record.workers else _SECOND_LOOK_S
        case StaysAlive(seconds=seconds):
            return max(0.0, live.record.started_at + seconds - time.monotonic())
