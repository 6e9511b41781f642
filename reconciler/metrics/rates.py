"""How much each app does per second, from one look at the host to the next."""

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reconciler.metrics import sample
from reconciler.metrics.prometheus import render
from reconciler.metrics.sample import AppSample
from reconciler.serving import request_counters
from reconciler.serving.gate_figures import BOUNDS_S
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """An app between two looks: requests per second, errors (5xx) among them, seconds half and 95% took at most.

    `cpu` is in cores, `memory` in bytes. Latencies are None when nothing was answered; the longest bound is the most
    they can be.
    """

    requests: float
    errors: float
    p50_s: float | None
    p95_s: float | None
    in_flight: int
    busy: int
    workers: int
    memory: int
    cpu: float


class Rates:
    """Looks when asked; the first look tells nothing, for want of one before."""

    def __init__(self, paths: StatePaths) -> None:
        self._paths = paths
        self._before: dict[str, AppSample] = {}
        self._at = 0.0

    def look(self) -> dict[str, Rate]:
        """Each app that was there at the look before, too; raises sqlite3.Error. Blocks."""
        now, seen = time.monotonic(), sample.of_host(self._paths)
        before, seconds = self._before, now - self._at
        self._before, self._at = seen, now
        return {name: rate(before[name], app, seconds) for name, app in seen.items() if name in before and seconds > 0}


def rate(before: AppSample, now: AppSample, seconds: float) -> Rate:
    """What happened in the seconds between two samples of one app."""
    classes = [_gone_up(*pair) for pair in zip(before.figures.classes, now.figures.classes, strict=True)]
    buckets = [_gone_up(*pair) for pair in zip(before.figures.buckets, now.figures.buckets, strict=True)]
    cpu = sum(used - before.cpu.get(instance, 0.0) for instance, used in now.cpu.items())
    return Rate(
        requests=sum(classes) / seconds,
        errors=classes[4] / seconds,
        p50_s=quantile(0.5, buckets),
        p95_s=quantile(0.95, buckets),
        in_flight=now.figures.in_flight,
        busy=now.figures.busy,
        workers=now.figures.workers,
        memory=now.memory,
        cpu=max(0.0, cpu / seconds),
    )


def quantile(share: float, buckets: Sequence[int]) -> float | None:
    """The seconds that this share took at most, as if those of a bucket were spread evenly in it; None for none."""
    wanted, so_far = share * sum(buckets), 0
    if not wanted:
        return None
    for low, high, count in zip((0.0, *BOUNDS_S), BOUNDS_S, buckets, strict=False):
        if so_far + count >= wanted:
            return low + (high - low) * (wanted - so_far) / count
        so_far += count
    return BOUNDS_S[-1]


def _gone_up(before: int, now: int) -> int:
    """What came on top; a counter that began anew was at 0."""
    return now - before if now >= before else now


def rendered(settings: Settings) -> str | None:
    """Prometheus' text format, None when nothing can be read just now. Blocks."""
    try:
        return render(settings.paths)
    except (OSError, sqlite3.Error):
        return None


class Requests:
    """Requests per second by app, from one look to the next."""

    def __init__(self, paths: StatePaths) -> None:
        self._paths = paths
        self._before: Mapping[str, int] = {}
        self._at = 0.0

    def per_second(self, names: Iterable[str]) -> Mapping[str, float]:
        """An app that was not there at the look before is not in it. Blocks."""
        now, before = time.monotonic(), self._before
        seen = {name: request_counters.of_app(self._paths.readiness(name)).requests for name in names}
        seconds, self._before, self._at = now - self._at, seen, now
        return {name: max(0, seen[name] - before[name]) / seconds for name in seen if name in before and seconds > 0}
