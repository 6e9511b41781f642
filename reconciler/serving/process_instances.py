"""The instances of processes that are not web: started, told to stop step by step, killed. Nothing here waits for one.

What was decided is on record before its signal is sent, so that the next daemon never sends one a second time: a second
SIGTERM is for some of them the order to drop what they work on.
"""

import signal
import time
from collections.abc import Iterator
from dataclasses import replace

from reconciler.planning.isolation.limits import Limits
from reconciler.planning.processes.observed import ProcessInstance
from reconciler.planning.processes.stop import StopSequence
from reconciler.serving.build_users import Use
from reconciler.serving.live_instance import LiveInstance
from reconciler.serving.marks import Identity
from reconciler.serving.programs.gunicorn import InstancePaths
from reconciler.serving.programs.program import Program
from reconciler.serving.supervised import SupervisedInstances
from reconciler.state.process_records import on_record, stop_of


class ProcessInstances:
    """Those of `instances` that are of processes, by key, `APP/PROCESS`, and id."""

    def __init__(self, instances: SupervisedInstances) -> None:
        self._instances = instances
        instances.users.add(self._uses)

    def keys(self) -> frozenset[str]:
        """Return the processes that have an instance on record."""
        return self._instances.process_keys()

    def of(self, key: str) -> tuple[ProcessInstance, ...]:
        """Return the instances of a process as they are now, oldest first."""
        return tuple(map(_observed, self._instances.lives(key)))

    def lives(self, key: str) -> Iterator[LiveInstance]:
        """Return the instances of a process that are alive."""
        return (live for live in self._instances.lives(key) if live.process is not None and live.end is None)

    @property
    def is_clearing(self) -> bool:
        """Whether what an instance left that has ended is still being ended."""
        return self._instances.is_clearing

    def new_identity(self) -> Identity:
        """Return the identity of a command that is to run beside an instance, and is on no record."""
        return self._instances.new_identity()

    async def start(self, program: Program, places: InstancePaths, lock: int | None) -> LiveInstance:
        """Start a program, which inherits the descriptor of its lock if it has one. Raises CannotStart.

        It is not waited for.
        """
        return await self._instances.launch(program, places, () if lock is None else (lock,))

    def mark_ready(self, key: str, instance: str) -> None:
        """Record that an instance is ready."""
        live = self._instances.live(key, instance)
        if live is not None and live.record.ready_at is None:
            self._instances.put(live, ready_at=time.monotonic())

    def change_stop(self, key: str, instance: str, stop: StopSequence) -> None:
        """Record how an instance is stopped from now on."""
        live = self._instances.live(key, instance)
        if live is not None:
            self._instances.put(live, stop=str(stop))

    def stop(self, key: str, instance: str) -> None:
        """Record that an instance is to stop, and send the first signal of its sequence; once."""
        live = self._instances.live(key, instance)
        if live is None or live.record.stopping_since is not None:
            return
        first = stop_of(live.record).steps[0].signal
        try:
            self._instances.put(live, stopping_since=time.monotonic(), steps=1)
        finally:
            _send(live, first)

    def signal(self, key: str, instance: str, step: int, name: str) -> None:
        """Record that a step of the stop sequence is taken, and send its signal; once."""
        live = self._instances.live(key, instance)
        if live is None or live.record.steps != step:
            return
        try:
            self._instances.put(live, steps=step + 1)
        finally:
            _send(live, name)

    def kill(self, key: str, instance: str) -> None:
        """Kill an instance with all of its group; what it started elsewhere is ended once it is reaped."""
        live = self._instances.live(key, instance)
        if live is None:
            return
        if live.process is not None:
            live.process.kill_group()
        live.cell.kill()
        self._instances.put(live, steps=len(stop_of(live.record).steps) + 1)

    def apply_limits(self, key: str, instance: str, limits: Limits) -> bool:
        """Hold an instance to other limits; return whether that is a change."""
        return self._instances.apply_limits(key, instance, limits)

    def reap(self, key: str, instance: str) -> None:
        """Forget an instance that has ended, and end what is left of it."""
        self._instances.reap(key, instance)

    def _uses(self, app: str) -> Iterator[Use]:
        for key in self._instances.process_keys(app):
            yield from (Use(live.record.revision, live.record.build) for live in self._instances.lives(key))


def _send(live: LiveInstance, name: str) -> None:
    if live.process is not None and live.end is None:
        live.process.signal(signal.Signals[f"SIG{name}"])


def _observed(live: LiveInstance) -> ProcessInstance:
    return replace(
        on_record(live.record),
        end=live.end,
        said=live.said,
        says_ready=live.says_ready,
        hung=live.unhealthy,
        silent=live.silent,
        limits=live.limits,
        unenforced=live.unenforced,
        lacks=live.lacks,
        outgrown=live.outgrown,
        exceeded="; ".join(live.beyond.values()),
    )
