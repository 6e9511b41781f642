"""Record the load of every running app once a minute, for as long as the daemon runs.

It takes at most a thousandth of one core: where measuring takes longer, it is done less often. An app that does nothing
is measured once in half an hour or less often, and has a record written once in five minutes; in between, a look at its
workers' figures shows that it has answered nothing. Apps that are at rest, and those that have answered nothing since
they were first seen, are measured a few at a time and for a thirtieth of that: a host on which nothing happens spends
next to nothing.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from reconciler.convergence.ticks import next_tick
from reconciler.linux.dataclass import dataclass
from reconciler.metrics.load_ring import DAY, HOUR, LoadPoint, mean, write_point
from reconciler.metrics.rates import rate
from reconciler.metrics.sample import AppSample
from reconciler.serving.gate_figures_reader import Contents, contents, is_unchanged, tells
from reconciler.state.paths import StatePaths

_SHARE = 0.001
_SHARE_AT_REST = _SHARE / 30
_FIRST_S = 600.0  # a daemon that has just started has better to do than to measure what does nothing
_IDLE_CPU = 0.001
_AT_REST_S = 30 * 60
_AT_ONCE = 2


@dataclass(slots=True, kw_only=True)
class _App:
    """An app as it was last measured, `at` monotonic seconds; `at_rest` is what its workers had written, if it is.

    `seen` is when it was last known to have answered as much as in the sample.
    """

    sample: AppSample
    at: float
    seen: float
    point: LoadPoint | None = None
    at_rest: Contents | None = None


class LoadRecorder:
    """Records the loads of one host's apps: `running` names those that run, `sample` measures some of them.

    With each name come the files of the app's workers.
    """

    def __init__(
        self,
        paths: StatePaths,
        running: Callable[[], Mapping[str, Collection[str]]],
        sample: Callable[[Collection[str]], Mapping[str, AppSample]],
    ) -> None:
        self._paths = paths
        self._running = running
        self._sample = sample
        self._workers: Mapping[str, Collection[str]] = {}
        self._apps: dict[str, _App] = {}
        self._tried_at: dict[str, float] = {}
        self._unmeasured: dict[str, Contents] = {}
        self._collected: dict[str, list[LoadPoint]] = {}
        self._collected_until = 0
        self._patient_at: float | None = None

    async def run(self) -> None:
        """Record now and then, and never return."""
        due_at = 0.0
        while True:
            await next_tick(HOUR.step_s)
            if time.monotonic() < due_at:
                continue
            running = self._running()
            with contextlib.suppress(OSError, sqlite3.Error):
                took_s = await asyncio.to_thread(self._timed, running)
                due_at = time.monotonic() + took_s / _SHARE - HOUR.step_s / 2

    def _timed(self, running: Mapping[str, Collection[str]]) -> float:
        began = time.thread_time()
        self.record(running, time.time(), time.monotonic())  # noqa: TID251  shown on a time axis
        return time.thread_time() - began

    def record(self, running: Mapping[str, Collection[str]], now: float, at: float) -> None:
        """Record the load since the last call; `now` is wall-clock, `at` monotonic seconds. Blocks."""
        self._workers = running
        self._apps = {name: app for name, app in self._apps.items() if name in running}
        self._tried_at = {name: tried for name, tried in self._tried_at.items() if name in running}
        self._unmeasured = {name: seen for name, seen in self._unmeasured.items() if name in running}
        step = int(now) // DAY.step_s
        due, patient = self._due(running, now, at)
        self._measure(due, now, at)
        if self._patient_at is None:
            self._patient_at = at + _FIRST_S
        if patient and at >= self._patient_at:
            began = time.thread_time()
            self._measure(patient, now, at)
            self._patient_at = at + (time.thread_time() - began) / _SHARE_AT_REST - HOUR.step_s / 2
        if step != self._collected_until:
            self._write_collected(now)
            self._collected_until = step

    def _measure(self, names: Collection[str], now: float, at: float) -> None:
        self._tried_at.update(dict.fromkeys(names, at))
        for name, sample in (self._sample(names) if names else {}).items():
            self._measured(name, sample, now, at)

    def _due(self, running: Collection[str], now: float, at: float) -> tuple[set[str], list[str]]:
        """Return the apps that have been at work, and a few of those that are new or have been at rest for long."""
        known = {name for name in running if name in self._apps}
        awake = {name for name in known if not self._still_rests(name, now, at)}
        new = [name for name in running if name not in known]
        started = {name for name in new if self._has_begun(name)}
        once = [name for name in known - awake if self._apps[name].point is None]
        others = [name for name in new if name not in started]
        others += [name for name in known - awake if at - self._apps[name].at >= _AT_REST_S]
        others.sort(key=lambda name: self._tried_at.get(name, 0.0))
        return awake | started, [*once, *others][:_AT_ONCE]

    def _has_begun(self, name: str) -> bool:
        """Whether an app that was never measured has answered something since it was first seen."""
        before = self._unmeasured.get(name)
        if before is None or not tells(before):  # its workers may not have written anything yet
            self._unmeasured[name] = contents(self._workers.get(name, ()))
            return False
        return not self._has_answered_nothing(name, before)

    def _has_answered_nothing(self, name: str, before: Contents) -> bool:
        """Whether the workers of an app are those that they were, and have answered nothing since."""
        return before.keys() == {*self._workers.get(name, ())} and is_unchanged(before)

    def _still_rests(self, name: str, now: float, at: float) -> bool:
        """Whether an app that was idle has answered nothing since; then its point is the last one again."""
        app = self._apps.get(name)
        if app is None or app.at_rest is None or not self._has_answered_nothing(name, app.at_rest):
            return False
        if app.point is not None:
            app.seen = at
            self._collected.setdefault(name, []).append(replace(app.point, at=now))
        return True

    def _measured(self, name: str, sample: AppSample, now: float, at: float) -> None:
        at_first, before = self._unmeasured.pop(name, None), self._apps.get(name)
        app = self._apps[name] = _App(sample=sample, at=at, seen=at)
        if before is None or before.at >= at:
            app.at_rest = at_first
            return
        since = rate(before.sample, sample, at - before.seen or at - before.at)
        cpu = rate(before.sample, sample, at - before.at).cpu
        app.point = LoadPoint(at=now, requests=since.requests, p95_s=since.p95_s, memory=since.memory, cpu=cpu)
        self._collected.setdefault(name, []).append(app.point)
        if since.requests == 0 and cpu < _IDLE_CPU:
            app.at_rest = contents(self._workers.get(name, ()))
        else:
            self._write(name, app.point)

    def _write_collected(self, now: float) -> None:
        for app, points in self._collected.items():
            self._write(app, points[-1])
            with contextlib.suppress(OSError):
                write_point(self._paths.load_history(app), DAY, mean(points, now))
        self._collected.clear()

    def _write(self, app: str, point: LoadPoint) -> None:
        with contextlib.suppress(OSError):  # a full disk, or an app that was removed: there is nothing to plot then
            write_point(self._paths.load_history(app), HOUR, point)
