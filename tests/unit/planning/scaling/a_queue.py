"""A model of an app: requests that come at given times wait in one queue for workers that take one at a time."""

import heapq
import itertools
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from reconciler.planning.scaling.load import Load, Look
from reconciler.planning.scaling.scale import scale
from reconciler.planning.scaling.worker_range import WorkerRange

START_S = 0.5


@dataclass
class Story:
    """What became of a load: the number of workers at each look, and how long each request waited, by its time."""

    workers: list[tuple[float, int]] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)

    @property
    def changes(self) -> int:
        return sum(a != b for (_, a), (_, b) in itertools.pairwise(self.workers))

    def at(self, when: float) -> int:
        return max((at, workers) for at, workers in self.workers if at <= when)[1]

    def met_s(self, step_at: float) -> float:
        """Return the whole seconds from a step until nine of ten that come wait 50 ms at most, three seconds long."""
        waits = [[wait for came, wait in self.waits if step_at + n <= came < step_at + n + 1] for n in range(40)]
        good = [sum(wait <= 0.05 for wait in each) >= 0.9 * len(each) for each in waits]
        return next(n for n in range(38) if all(good[n : n + 3]))

    @property
    def worker_seconds(self) -> float:
        return sum((later - at) * workers for (at, workers), (later, _) in itertools.pairwise(self.workers))

    def waited(self, begin: float, end: float) -> float:
        """The longest wait of the requests that came in that time."""
        return max((wait for at, wait in self.waits if begin <= at < end), default=0.0)


def best(most: int, requests: Iterable[tuple[float, float]], step_at: float, start_s: float = START_S) -> Story:
    """Ask for all workers as soon as the first request of a step waits: no one could do it sooner who is not told."""
    told, free_at = Story(), [0.0]
    for came, takes in sorted(requests):
        if came >= step_at and free_at[0] > came and len(free_at) < most:
            for _ in range(most - len(free_at)):
                heapq.heappush(free_at, came + start_s)
        begins = max(came, heapq.heappop(free_at))
        told.waits.append((came, begins - came))
        heapq.heappush(free_at, begins + takes)
    return told


def story(asked: WorkerRange, requests: Iterable[tuple[float, float]], until: float, start_s: float = START_S) -> Story:
    """Look four times a second; a worker that is added works after `start_s`."""
    told, coming = Story(), deque(sorted(requests))
    free_at = [0.0] * asked.least
    heapq.heapify(free_at)
    queue: deque[tuple[float, float]] = deque()
    ends: list[float] = []
    answered, seconds, at, load = 0, 0.0, 0.0, None
    while at < until:
        while coming and coming[0][0] <= at:
            queue.append(coming.popleft())
        while queue and free_at[0] <= at:
            came, takes = queue.popleft()
            begins = max(came, heapq.heappop(free_at))
            told.waits.append((came, begins - came))
            heapq.heappush(free_at, begins + takes)
            heapq.heappush(ends, begins + takes)
            seconds += takes
        while ends and ends[0] <= at:
            heapq.heappop(ends)
            answered += 1
        look = Look(
            at=at, instance="i", workers=len(free_at), in_flight=len(ends), answered=answered,
            seconds=seconds, queue=len(queue), start_s=start_s,
        )  # fmt: skip
        load = Load.first(asked, look) if load is None else load.next(asked, look)
        number = scale(asked, load, at).workers
        told.workers.append((at, len(free_at)))
        for _ in range(number - len(free_at)):
            heapq.heappush(free_at, at + start_s)
        if number < len(free_at):
            free_at = sorted(free_at)[1:]  # one that is idle, if any is
            heapq.heapify(free_at)
        at += 0.25
    told.waits += [(came, until - came) for came, _ in queue]
    return told
