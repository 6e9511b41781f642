"""Rates of apps: requests, errors, latencies and processor time between two samples."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import field

from reconciler.linux.dataclass import dataclass
from reconciler.metrics.sample import AppSample, Sampler
from reconciler.serving.gate_figures import BOUNDS_S
from reconciler.state.paths import StatePaths


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One app between two samples: requests and errors per second, median and 95th percentile in seconds.

    `errors` are the app's own (5xx), `client_errors` those that it blames on its clients (4xx). `cpu` is in cores,
    `memory` in bytes, `memory_limit` that of each instance, None without one. Latencies are None without an answer, and
    never exceed the largest bound. `pressure` is the share of the time in which some process waited, by resource, of
    the instance that waited most. `queue` are the connections that no worker has accepted yet, None where that is not
    known; `wait_s` is how long requests waited for a worker, None where nothing tells.
    """

    requests: float
    errors: float
    client_errors: float
    p50_s: float | None
    p95_s: float | None
    in_flight: int
    busy: int
    workers: int
    memory: int
    cpu: float
    memory_limit: int | None = None
    pressure: Mapping[str, float] = field(default_factory=dict)
    queue: int | None = None
    wait_s: float | None = None


class Rates:
    """Rates of each app between one sample of the host and the next."""

    def __init__(self) -> None:
        self._before: Mapping[str, AppSample] = {}
        self._at = 0.0

    def follow(self, samples: Mapping[str, AppSample], at: float) -> dict[str, Rate]:
        """Return the rates of each app that the samples before had, too; `at` is monotonic seconds."""
        before, seconds = self._before, at - self._at
        self._before, self._at = samples, at
        return {
            name: rate(before[name], app, seconds) for name, app in samples.items() if name in before and seconds > 0
        }


class HostRates:
    """Samples every app of a host whenever asked."""

    def __init__(self, paths: StatePaths) -> None:
        self._sampler = Sampler(paths)
        self._rates = Rates()

    def measure(self) -> dict[str, Rate]:
        """Return the rates since the call before, none at the first; raises sqlite3.Error. Blocks."""
        samples = self._sampler.sample()
        return self._rates.follow(samples, time.monotonic())


def rate(before: AppSample, now: AppSample, seconds: float) -> Rate:
    """Return the rates of one app over the seconds between two samples."""
    classes = [_growth(*pair) for pair in zip(before.figures.classes, now.figures.classes, strict=True)]
    buckets = [_growth(*pair) for pair in zip(before.figures.buckets, now.figures.buckets, strict=True)]
    cpu = sum(used - before.cpu.get(instance, 0.0) for instance, used in now.cpu.items())
    return Rate(
        requests=sum(classes) / seconds,
        errors=classes[4] / seconds,
        client_errors=classes[3] / seconds,
        p50_s=quantile(0.5, buckets),
        p95_s=quantile(0.95, buckets),
        in_flight=now.figures.in_flight,
        busy=now.figures.busy,
        workers=now.figures.workers,
        memory=now.memory,
        cpu=max(0.0, cpu / seconds),
        memory_limit=now.memory_limit,
        pressure=_pressure(before.waited, now.waited, seconds),
        queue=None if now.queue is None else now.queue.length,
        wait_s=_wait_s(before, now, sum(classes), seconds),
    )


def _wait_s(before: AppSample, now: AppSample, answered: int, seconds: float) -> float | None:
    """Return how long requests waited for a worker: what is in the queue now will wait that long by Little's law.

    Workers that tell how long each one waited know better of those that they took. Where nothing was answered, what is
    in the queue has waited for as long as nothing was, at least.
    """
    waited = _growth(sum(before.figures.waits), sum(now.figures.waits))
    took = now.figures.waited_s - before.figures.waited_s
    told = took / waited if waited and took >= 0 else None
    if now.queue is None or before.queue is None:
        return told
    length = min(before.queue.length, now.queue.length)
    queued = min(seconds, length / answered * seconds) if answered else seconds if length else 0.0
    return queued if told is None else max(told, queued if length else 0.0)


def _pressure(
    before: Mapping[tuple[str, str], float], now: Mapping[tuple[str, str], float], seconds: float
) -> dict[str, float]:
    found: dict[str, float] = {}
    for (instance, resource), waited in now.items():
        share = (waited - before.get((instance, resource), waited)) / seconds
        found[resource] = max(found.get(resource, 0.0), min(1.0, max(0.0, share)))
    return found


def quantile(share: float, buckets: Sequence[int]) -> float | None:
    """Return the seconds that this share took at most, values spread evenly in each bucket; None without any."""
    wanted, so_far = share * sum(buckets), 0
    if not wanted:
        return None
    for low, high, count in zip((0.0, *BOUNDS_S), BOUNDS_S, buckets, strict=False):
        if so_far + count >= wanted:
            return low + (high - low) * (wanted - so_far) / count
        so_far += count
    return BOUNDS_S[-1]


def _growth(before: int, now: int) -> int:
    """Return the growth of a counter, which restarted at 0 when it is lower than before."""
    return now - before if now >= before else now
