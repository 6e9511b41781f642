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

    def waited(self, begin: float, end: float) -> float:
        """The longest wait of the requests that came in that time."""
        return max((wait for at, wait in self.waits if begin <= at < end), default=0.0)


def story(asked: WorkerRange, requests: Iterable[tuple[float, float]], until: float) -> Story:
    """Look once a second, four times while all are busy; a worker that is added works after START_S."""
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
            seconds=seconds, queue=len(queue), start_s=START_S,
        )  # fmt: skip
        load = Load.first(asked, look) if load is None else load.next(asked, look)
        number = scale(asked, load, at).workers
        told.workers.append((at, len(free_at)))
        for _ in range(number - len(free_at)):
            heapq.heappush(free_at, at + START_S)
        if number < len(free_at):
            free_at = sorted(free_at)[1:]  # one that is idle, if any is
            heapq.heapify(free_at)
        at += 0.25 if queue or len(ends) >= len(free_at) else 1.0
    told.waits += [(came, until - came) for came, _ in queue]
    return told
