"""Watch what instances use of their limits: have a new one take over in time, and tell of what was exceeded.

What the kernel does not hold is ended here: the largest worker of an instance that uses more memory than it may.
"""

import asyncio
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import field, replace
from typing import Any

from reconciler.convergence.ticks import next_tick
from reconciler.host.stores import Stores
from reconciler.isolation.disk_use import disk_use
from reconciler.isolation.limiting import memory_kills, memory_pressure, refused_processes, used_memory
from reconciler.linux.dataclass import dataclass
from reconciler.linux.process_table import family, own, threads
from reconciler.linux.processes import send_to
from reconciler.planning.isolation.limits import size
from reconciler.planning.isolation.watching import EVERY_S, Pressure, Use, look_again_s, near, together
from reconciler.planning.reason import Reason
from reconciler.serving.live_instance import LiveInstance
from reconciler.serving.supervised import SupervisedInstances
from reconciler.state.journal import EventKind
from reconciler.state.paths import StatePaths

_DISK_EVERY_S = 60.0
# How long it is told that a limit was exceeded.
_TOLD_S = 600.0


@dataclass(slots=True)
class _Watched:
    use: Use
    look_at: float
    kills: int
    refused: int
    fallen: frozenset[int]
    pressure: Pressure = field(default_factory=Pressure)
    unnamed: int = 0
    told_at: float = 0.0


class LimitWatch:
    """Watches every instance with limits; costs nothing without one.

    The app or process of which something new is known is woken. `counts` says how often each was
    near a limit or beyond it: by key, limit, and `limited` or `exceeded`.
    """

    def __init__(
        self,
        paths: StatePaths,
        stores: Stores,
        instances: SupervisedInstances,
        *,
        rest_s: float,
    ) -> None:
        self._paths = paths
        self._instances = instances
        self._rest_s = rest_s
        self._changed = instances.wake
        self._record = stores.record_event
        self._watched: dict[str, _Watched] = {}
        self.counts: Counter[tuple[str, str, str]] = Counter()

    def figures(self) -> dict[str, Any]:
        """Return how often each instance's limits were near or exceeded since this daemon began, as JSON data."""
        return {"limits": [[*each, count] for each, count in sorted(self.counts.items())]}

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            woken = self._instances.take_woken()
            wait_s = self.look(time.monotonic(), woken)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._instances.limited.wait()

    async def watch_disks(self) -> None:
        """Measure what apps with a limit of disk take, every minute until cancelled."""
        while True:
            await next_tick(_DISK_EVERY_S)
            by_app = defaultdict[str, list[LiveInstance]](list)
            for live in self._limited():
                if live.limits and live.limits.disk:
                    by_app[live.record.app].append(live)
            for lives in by_app.values():
                await self.look_at_disk(*lives)

    def look(self, now: float, woken: Collection[str] = ()) -> float | None:
        """Look at every instance for which it is time, and at those `woken`, for kills of the kernel.

        Returns the seconds until the next look, None without any.
        """
        lives = {live.record.id: live for live in self._limited()}
        for gone in self._watched.keys() - lives.keys():
            del self._watched[gone]
        for live in lives.values():
            watched = self._watched.get(live.record.id)
            if watched is None:
                watched = self._watched[live.record.id] = _Watched(
                    use=Use(at=now, memory=self._memory(live)),
                    look_at=now,
                    kills=live.kills,
                    refused=0,
                    fallen=frozenset(),
                )
            if now >= watched.look_at or live.record.id in woken:
                self._look(live, watched, now)
        return min((max(0.01, each.look_at - now) for each in self._watched.values()), default=None)

    async def look_at_disk(self, *lives: LiveInstance) -> None:
        """Measure once what the app of some instances takes on the disk."""
        app = lives[0].record.app
        places = [self._paths.home(app), self._paths.scratch(app), self._paths.logs / app]
        used = await asyncio.to_thread(disk_use, places)
        for live in lives:
            self._compare_disk(live, used)

    def _compare_disk(self, live: LiveInstance, used: int) -> None:
        limits = live.limits
        if limits is None or limits.disk is None:
            return
        before = live.beyond.pop("disk", "")
        if used > limits.disk:
            live.beyond["disk"] = text = (
                f"home, temporary files and logs take {size(used)}, more than {size(limits.disk)}"
            )
            if not before:
                self._tell(live, "exceeded", text, "disk")
        if bool(before) != ("disk" in live.beyond):
            self._changed(live.record.key)

    def _limited(self) -> Iterator[LiveInstance]:
        return (live for live in self._instances.all() if live.limits and live.process is not None and live.end is None)

    def _look(self, live: LiveInstance, watched: _Watched, now: float) -> None:
        self._look_at_kills(live, watched, now)
        if now < watched.look_at:
            return
        assert live.limits is not None
        age_s = now - live.record.started_at
        watched.use = watched.use.next(now, self._memory(live))
        if live.record.ready_at is None:
            watched.use = replace(watched.use, growth=0.0, pace=0.0)  # what it takes to start is no pace
        again_s = look_again_s(watched.use, live.limits, age_s=age_s, start_s=_start_s(live))
        watched.look_at = together(now + again_s, now)
        self._look_at_memory(live, watched, age_s)
        self._look_at_processes(live, watched, now)
        self._look_at_pressure(live, watched, now)
        if live.beyond.keys() - {"disk"} and now >= watched.told_at + _TOLD_S:
            for name in live.beyond.keys() - {"disk"}:
                del live.beyond[name]
            self._changed(live.record.key)

    def _look_at_memory(self, live: LiveInstance, watched: _Watched, age_s: float) -> None:
        assert live.limits is not None
        used, most = watched.use.memory, live.limits.memory
        if most is not None and used > most and live.held.get("memory") != "together":
            self._end_largest(live, watched)
        if live.outgrown or not live.runs or live.record.ready_at is None:
            return
        live.outgrown = near(watched.use, live.limits, age_s=age_s, start_s=_start_s(live), rest_s=self._rest_s)
        if live.outgrown:
            self._tell(live, "limited", live.outgrown, "memory")
            self._changed(live.record.key)

    def _look_at_kills(self, live: LiveInstance, watched: _Watched, now: float) -> None:
        """Tell which worker the kernel has killed for its memory, once the master has said that it is gone."""
        if not watched.unnamed:
            live.kills = watched.kills  # its master has outlived those
        kills, fallen = memory_kills(live.cell), live.fallen()
        watched.unnamed += max(0, kills - watched.kills)
        watched.kills = kills
        new, watched.fallen = sorted(fallen - watched.fallen), fallen
        if not watched.unnamed or live.limits is None or live.limits.memory is None:
            return
        if not new and live.record.workers:
            return  # its master has not said so yet
        watched.unnamed = 0
        who = f"worker {new[-1]}" if new else "a process of it"
        self._exceeded(live, watched, now, "memory", f"{who} needed more than {size(live.limits.memory)}")

    def _look_at_processes(self, live: LiveInstance, watched: _Watched, now: float) -> None:
        assert live.limits is not None
        most = live.limits.processes
        if most is None:
            return
        refused, before = refused_processes(live.cell), watched.refused
        watched.refused = refused
        assert live.process is not None
        over = live.held.get("processes") != "together" and sum(map(threads, dict(family(live.process.pid)))) > most
        if refused > before or over:
            self._exceeded(live, watched, now, "processes", f"it wanted more than {most} processes and threads")

    def _look_at_pressure(self, live: LiveInstance, watched: _Watched, now: float) -> None:
        share = memory_pressure(live.cell)
        watched.pressure = watched.pressure.next(share, now)
        if watched.pressure.is_due(now):
            watched.pressure = replace(watched.pressure, told=True)
            text = f"its processes wait for memory {share:.0%} of the time"
            self._tell(live, "limited", text, "pressure")

    def _exceeded(self, live: LiveInstance, watched: _Watched, now: float, which: str, text: str) -> None:
        is_new = live.beyond.get(which) != text
        live.beyond[which] = text
        watched.told_at = now
        if is_new:
            self._tell(live, "exceeded", text, which)
            self._changed(live.record.key)

    def _end_largest(self, live: LiveInstance, watched: _Watched) -> None:
        """Kill the largest process of an instance but its master, or that if there is no other."""
        assert live.process is not None
        assert live.limits is not None
        assert live.limits.memory is not None
        sizes = {pid: own(pid) for pid, _ in family(live.process.pid)}
        others = sizes.keys() - {live.process.pid}
        largest = max(others or sizes, key=lambda pid: sizes[pid])
        send_to(largest, signal.SIGKILL)
        who = f"worker {largest}" if largest in others and live.record.workers else f"process {largest}"
        text = f"{who} needed more than {size(live.limits.memory)}, and was ended"
        self._exceeded(live, watched, time.monotonic(), "memory", text)
        watched.look_at = time.monotonic() + EVERY_S / 5

    def _tell(self, live: LiveInstance, kind: EventKind, text: str, which: str) -> None:
        record, reason = live.record, Reason.LIMIT_NEAR if kind == "limited" else Reason.LIMIT_EXCEEDED
        self.counts[record.key, which, kind] += 1
        who = f"{record.process}.{record.slot} (pid {record.pid})" if record.process else f"{live.program} {record.pid}"
        self._record(record.app, kind, f"{who}: {text}", reason=reason, process=record.process)

    def _memory(self, live: LiveInstance) -> int:
        assert live.process is not None
        used = used_memory(live.cell)
        return used if used is not None else sum(own(pid) for pid, _ in family(live.process.pid))


def _start_s(live: LiveInstance) -> float:
    """Return how long an instance took to be ready, 0 for one that is not."""
    record = live.record
    return 0.0 if record.ready_at is None else max(0.0, record.ready_at - record.started_at)
