"""Keep the logs of apps within their limit: rotate what grew too large, and cut what is written faster than that helps.

A look at every log would cost a host with thousands of apps too much to be made each second: what the disk has left is
asked instead, and says whether a log may have grown. A log that is written faster than it is rotated is cut again and
again meanwhile. The logs of an app that writes nothing are looked at again once the kernel tells of a change. Logs of
apps without an instance are looked at when one has ended, and all that there are, those of removed apps too, a few at a
time once an hour and when the daemon starts.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

from reconciler.convergence.ticks import next_tick, next_tick_or
from reconciler.convergence.world import Report
from reconciler.linux.lean_event import LeanEvent
from reconciler.linux.listing import names_in
from reconciler.linux.next_changes import NextChanges
from reconciler.planning.subject import Subject
from reconciler.serving import logs
from reconciler.serving.instances import Instances
from reconciler.serving.log_times import LogTimes
from reconciler.serving.programs.gunicorn import InstancePaths
from reconciler.state.paths import StatePaths

_LOOK_EVERY_S = 1.0
_SELDOM = 5  # times less often while no log grows: a daemon that wakes up each second is not idle
_CUT_EVERY_S = 0.125  # while a log is flooded: what a program writes in a second may be gigabytes
_LOOK_AT_ALL_EVERY_S = 30.0
_LIST_EVERY_S = 3600.0
_LISTED_AT_A_TIME = 50
_MOST_LISTED = 100_000
_QUIET_FOR = 30  # looks
_NEW_FOR = 10  # looks
_STILL_AFTER_S = 10.0  # without a write, an app is taken for quiet
_TIMED = ("app.log", "access.log")
_ROTATED = ("app.log.1", "access.log.1")
P = ParamSpec("P")
T = TypeVar("T")


class Apart(Protocol):
    """Runs a function in a thread."""

    def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """Return what the function returns."""
        ...


class LogRotation:
    """Rotates the logs of every app; `record` gets an app's name and what was cut, `changes` tell what was written.

    `apart` runs what copies and cuts files in a thread.
    """

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        paths: StatePaths,
        instances: Instances,
        *,
        limit_bytes: int,
        keep: int,
        changes: NextChanges[str],
        record: Callable[[str, str], None],
        apart: Apart,
    ) -> None:
        self._paths = paths
        self._directory = str(paths.logs)
        self._instances = instances
        self._limit_bytes = limit_bytes
        self._keep = keep
        self._changes = changes
        self._record = record
        self._apart = apart
        self._growing: dict[str, int] = {}  # by app: how many more looks it is looked at each time
        self._new: dict[str, int] = {}  # the same, of those that have just been reported on
        self._reported = LeanEvent()
        self._quiet: set[str] = set()  # apps that have written nothing for a while, and will be told of once they do
        self._awake = True
        self._cut: set[str] = set()
        self._flood = LeanEvent()
        self._flooded: set[str] = set()  # apps of whose logs something was dropped, while they grow
        self._to_tell: set[str] = set()  # apps with a process that still starts, and is to open its log again
        self._rotated: set[str] = set()  # apps that have a rotated log, to which something may still write
        self._free_bytes = 0
        self._listed: list[str] = []
        self._times = LogTimes()

    async def run(self) -> None:
        """Look each second while a log grows, else every five while one is written to, until cancelled."""
        loop, due_at, list_at = asyncio.get_running_loop(), 0.0, 0.0
        while True:
            await self._pause()
            names = {*self._growing, *self._new, *self._instances.take_ended()}
            self._new = {name: looks - 1 for name, looks in self._new.items() if looks > 1}
            if loop.time() >= due_at or (self._awake and self._disk_shrank()):
                due_at = loop.time() + _LOOK_AT_ALL_EVERY_S
                names |= self._over_limit()
            if loop.time() >= list_at:
                list_at = loop.time() + _LIST_EVERY_S
                with contextlib.suppress(OSError):
                    self._listed = names_in(self._paths.logs, _MOST_LISTED)
            names.update(self._listed[-_LISTED_AT_A_TIME:])
            del self._listed[-_LISTED_AT_A_TIME:]
            for name in names:
                if name in self._growing or self._is_over_limit(name):
                    await self._look(name)

    async def cut(self) -> None:
        """Cut flooded logs again and again, whatever else is waited for, until cancelled."""
        while True:
            await self._flood.wait()
            await next_tick(_CUT_EVERY_S)
            await self._cut_at_once(self._flooded)
            if not self._flooded:
                self._flood.clear()

    async def _cut_at_once(self, names: Iterable[str]) -> int:
        """Cut the logs of apps to what is rotated next, side by side; return how many bytes were dropped.

        A writer waits while its log is cut: one after the other, all others would write on meanwhile. One that was not
        told to open its log again yet writes to what that was renamed to.
        """
        beyond = self._limit_bytes + logs.SLACK_BYTES
        files = [f"{self._directory}/{name}/{file}" for name in names for file in self._timed(name)]
        large = [Path(each) for file in files for each in (file, f"{file}.1") if logs.size(each) > beyond]
        return sum(await asyncio.gather(*(self._apart(logs.cut, each, beyond, beyond) for each in large)))

    def on_report(self, subject: Subject, _: Report | None) -> None:
        """Look at the logs of an app again: what starts writes, and what failed may have written much."""
        if subject.kind == "app":
            self._changes.tell(subject.name)
            self._new[subject.name] = _NEW_FOR
            self._reported.set()

    async def _pause(self) -> None:
        """Wait for the next look."""
        if not (self._awake or self._growing or self._listed):
            await next_tick_or(self._changes.happened, _LOOK_AT_ALL_EVERY_S)
        if self._changes.happened.is_set():
            self._quiet -= self._changes.take()
            self._awake = True
        if self._awake or self._growing or self._listed:
            await self._next_look()

    async def _next_look(self) -> None:
        """Wait for the next look at what grows, or may grow now that it was reported on."""
        if not (self._growing or self._new or self._listed):
            await next_tick_or(self._reported, min(_SELDOM * _LOOK_EVERY_S, _LOOK_AT_ALL_EVERY_S))
            if not self._reported.is_set():
                return
        self._reported.clear()
        await next_tick(_LOOK_EVERY_S)

    def _over_limit(self) -> set[str]:
        """Return the apps one of whose logs is too large; those that were quiet at the last look and are, are quiet."""
        apps = self._instances.apps() | self._instances.apps_of_processes()
        self._times.keep({f"{self._directory}/{name}" for name in apps})
        if gone := self._quiet - apps:
            self._quiet -= gone
            self._changes.forget(gone)
        awake = apps - self._quiet
        self._free_bytes = self._free() if awake else 0
        self._cut &= self._growing.keys()  # what is cut for long is told again and again, but seldom
        found = {name for name in awake if self._timed_is_over_limit(name)}
        self._awake = not apps <= self._quiet
        return found

    def _is_over_limit(self, name: str) -> bool:
        """Return whether one of an app's logs is too large; it costs little, as nearly every look finds none."""
        rotated = self._largest(name, _ROTATED)
        (self._rotated.add if rotated else self._rotated.discard)(name)
        return max(rotated, self._largest(name, self._timed(name))) > self._limit_bytes

    def _timed_is_over_limit(self, name: str) -> bool:
        """Return the same, and record how large the logs are that an app writes to now."""
        directory, files = f"{self._directory}/{name}", self._timed(name)
        size, written_at = self._times.take(directory, files)
        is_still = size <= self._limit_bytes and time.time() - written_at > _STILL_AFTER_S  # noqa: TID251  as files tell it
        if is_still and self._changes.ask(name, directory) and not self._times.take(directory, files)[1]:
            self._quiet.add(name)
        return size > self._limit_bytes or (name in self._rotated and self._is_over_limit(name))

    def _largest(self, name: str, files: Iterable[str]) -> int:
        return max(logs.size(f"{self._directory}/{name}/{file}") for file in files)

    def _of_processes(self, name: str) -> set[str]:
        """Return the files to which processes of an app that are not web write."""
        keys = self._instances.process_keys(name)
        return {live.log.name for key in keys for live in self._instances.lives(key)}

    def _timed(self, name: str) -> tuple[str, ...]:
        return (*_TIMED, *self._of_processes(name))

    async def _look(self, name: str) -> None:
        """Rotate an app's logs where they are over the limit: SIGUSR1 is gunicorn's word for opening them again.

        Gigabytes that an app has written meanwhile are copied and cut in a thread: no other app waits for that.
        """
        paths = InstancePaths.of(self._paths, name)
        self._times.take(f"{self._directory}/{name}", self._timed(name))
        kept = [self._paths.logs / name / file for file in self._of_processes(name)]
        opened_again = [paths.log, paths.access_log]
        if any(live.record.isolation for live in self._instances.lives(name)):  # which sees no log to open again
            kept, opened_again = [*kept, *opened_again], []
        if dropped := await self._cut_at_once((name,)):
            self._begin_flood(name)
        durable = name not in self._flooded
        rotated, emptied, cut = await self._apart(self._brought_within, kept, opened_again, durable=durable)
        cut += dropped
        if rotated:
            self._rotated.add(name)
        if rotated or name in self._to_tell:
            self._open_again(name)
        if rotated or emptied or cut:
            self._growing[name] = _QUIET_FOR
        elif name in self._growing:
            self._growing[name] -= 1
            if self._growing[name] <= 0:
                del self._growing[name]
                self._to_tell.discard(name)
                self._flooded.discard(name)
        if cut:
            self._begin_flood(name)
        if cut and name not in self._cut:
            self._cut.add(name)
            limit = f"{self._limit_bytes / 2**20:.3g} MiB"
            self._record(name, f"its log grows faster than it is rotated: lines were dropped beyond {limit} a file")

    def _begin_flood(self, name: str) -> None:
        """Cut an app's logs again and again, until they no longer grow."""
        self._flooded.add(name)
        self._flood.set()

    def _brought_within(
        self, kept: Iterable[Path], opened_again: Iterable[Path], *, durable: bool
    ) -> tuple[bool, bool, int]:
        """Bring logs within the limit: those that stay open are copied and emptied, the others renamed.

        To wait until a copy is `durable` takes seconds while gigabytes are written to the disk. Returns whether one was
        renamed, whether one was emptied, and how many bytes were dropped.
        """
        rotated, emptied, cut, beyond = False, False, 0, self._limit_bytes + logs.SLACK_BYTES
        for log, in_place in (*((each, True) for each in kept), *((each, False) for each in opened_again)):
            if in_place:  # no more than that is copied, and what is dropped counts
                cut += logs.cut(log, beyond, beyond)
            with contextlib.suppress(OSError):  # a log that cannot be copied or renamed is cut
                moved = logs.rotate(log, self._limit_bytes, self._keep, in_place=in_place, durable=durable)
                rotated |= moved and not in_place
                emptied |= moved and in_place
            renamed = log.with_name(f"{log.name}.1")
            cut += sum(logs.cut(each, beyond, self._limit_bytes) for each in (log, renamed))
        return rotated, emptied, cut

    def _open_again(self, name: str) -> None:
        """Have an app's processes open their logs again; those that could not be told yet are told at the next look."""
        told = [process.signal_if_caught(signal.SIGUSR1) for _, process in self._instances.processes(name)]
        (self._to_tell.discard if all(told) else self._to_tell.add)(name)

    def _disk_shrank(self) -> bool:
        """Return whether so much was written since the last look at all logs that one may be over its limit."""
        return self._free_bytes - self._free() > self._limit_bytes // 2

    def _free(self) -> int:
        with contextlib.suppress(OSError):
            facts = os.statvfs(self._paths.logs)
            return facts.f_bfree * facts.f_frsize
        return 0
