"""Record the load of every running app once a minute, for as long as the daemon runs.

It takes at most a thousandth of one core: where measuring takes longer, it is done less often. An app that does nothing
has nothing written but one record in five minutes.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Mapping

from reconciler.convergence.ticks import next_tick
from reconciler.metrics.load_ring import DAY, HOUR, LoadPoint, mean, write_point
from reconciler.metrics.rates import Rate, Rates
from reconciler.metrics.sample import AppSample
from reconciler.state.paths import StatePaths

_SHARE = 0.001
_IDLE_CPU = 0.001


class LoadRecorder:
    """Records the loads of one host's apps, of which `sample` measures those that run."""

    def __init__(self, paths: StatePaths, sample: Callable[[], Mapping[str, AppSample]]) -> None:
        self._paths = paths
        self._sample = sample
        self._rates = Rates()
        self._collected: dict[str, list[LoadPoint]] = {}
        self._collected_until = 0

    async def run(self) -> None:
        """Record now and then, and never return."""
        due_at = 0.0
        while True:
            await next_tick(HOUR.step_s)
            if time.monotonic() < due_at:
                continue
            with contextlib.suppress(OSError, sqlite3.Error):
                took_s = await asyncio.to_thread(self._timed)
                due_at = time.monotonic() + took_s / _SHARE - HOUR.step_s / 2

    def _timed(self) -> float:
        began = time.thread_time()
        self.record(time.time(), time.monotonic())  # noqa: TID251  shown on a time axis
        return time.thread_time() - began

    def record(self, now: float, at: float) -> None:
        """Record the load since the last call; `now` is wall-clock, `at` monotonic seconds. Blocks."""
        for app, rate in self._rates.follow(self._sample(), at).items():
            point = LoadPoint(at=now, requests=rate.requests, p95_s=rate.p95_s, memory=rate.memory, cpu=rate.cpu)
            self._collected.setdefault(app, []).append(point)
            if not _is_idle(rate):
                self._write(app, point)
        step = int(now) // DAY.step_s
        if step != self._collected_until:
            self._write_collected(now)
            self._collected_until = step

    def _write_collected(self, now: float) -> None:
        for app, points in self._collected.items():
            self._write(app, points[-1])
            with contextlib.suppress(OSError):
                write_point(self._paths.load_history(app), DAY, mean(points, now))
        self._collected.clear()

    def _write(self, app: str, point: LoadPoint) -> None:
        with contextlib.suppress(OSError):  # a full disk, or an app that was removed: there is nothing to plot then
            write_point(self._paths.load_history(app), HOUR, point)


def _is_idle(rate: Rate) -> bool:
    return rate.requests == 0 and rate.cpu < _IDLE_CPU
