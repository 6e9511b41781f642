"""Keep an app's load over the last hour and day in one small file of a fixed size.

Each record has its place by its time, so that writing one takes the place of the oldest, and a record says of which
moment it is. A file that was cut or written by something else gives what of it can be right.
"""

import math
import os
import struct
from collections.abc import Iterable
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.linux.regular_files import read_own

_RECORD = struct.Struct("<Iffff")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of time that a ring covers: `slots` records of `step_s` seconds each, from byte `offset` on."""

    seconds: int
    step_s: int
    offset: int

    @property
    def slots(self) -> int:
        return self.seconds // self.step_s


HOUR = Span(seconds=3600, step_s=60, offset=0)
DAY = Span(seconds=86_400, step_s=300, offset=HOUR.slots * _RECORD.size)
_SIZE = DAY.offset + DAY.slots * _RECORD.size


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPoint:
    """The load of an app in the step that ends at `at`, wall-clock seconds.

    `requests` per second; `p95_s` is None without an answer; `memory` in bytes; `cpu` in cores.
    """

    at: float
    requests: float
    p95_s: float | None
    memory: float
    cpu: float


def write_point(file: Path, span: Span, point: LoadPoint) -> None:
    """Write a point in the place of the oldest one. Raises OSError."""
    number = int(point.at) // span.step_s
    p95 = math.nan if point.p95_s is None else point.p95_s
    record = _RECORD.pack(number, point.requests, p95, point.memory, point.cpu)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(descriptor, record, span.offset + number % span.slots * _RECORD.size)
    finally:
        os.close(descriptor)


def read_points(file: Path, span: Span, now: float) -> tuple[LoadPoint, ...]:
    """Return the points of a span that ends now, oldest first; none if nothing was written. Blocks for a moment."""
    try:
        content = read_own(file, _SIZE)
    except OSError:
        return ()
    newest = int(now) // span.step_s
    part = content[span.offset : span.offset + span.slots * _RECORD.size]
    found = (_RECORD.unpack_from(part, at) for at in range(0, len(part) - _RECORD.size + 1, _RECORD.size))
    return tuple(
        LoadPoint(
            at=float(number * span.step_s),
            requests=requests,
            p95_s=None if math.isnan(p95) else p95,
            memory=memory,
            cpu=cpu,
        )
        for number, requests, p95, memory, cpu in sorted(found)
        if newest - span.slots < number <= newest and all(map(_is_sane, (requests, memory, cpu)))
    )


def mean(points: Iterable[LoadPoint], at: float) -> LoadPoint:
    """Return one point for several, at least one: means, but the worst p95 and the most memory."""
    every = tuple(points)
    answered = [point.p95_s for point in every if point.p95_s is not None]
    return LoadPoint(
        at=at,
        requests=sum(point.requests for point in every) / len(every),
        p95_s=max(answered, default=None),
        memory=max(point.memory for point in every),
        cpu=sum(point.cpu for point in every) / len(every),
    )


def _is_sane(value: float) -> bool:
    return math.isfinite(value) and value >= 0
