"""Charts of an app's load: geometry of lines and axes, drawn by the host so that no script is needed.

A minute without a record is one in which the app did nothing; a longer gap is one in which no daemon recorded.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from reconciler.inspection.printable import ago
from reconciler.linux.dataclass import dataclass
from reconciler.metrics.load_ring import DAY, HOUR, LoadPoint, Span
from reconciler.web.formatting import duration, percent, rate, size

WIDTH, HEIGHT = 480.0, 150.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, WIDTH - 10.0, 10.0, HEIGHT - 22.0
SPANS = {"hour": HOUR, "day": DAY}
_LONGEST_GAP_S = {HOUR.step_s: 6 * 60, DAY.step_s: 15 * 60}
_X_TICKS = 4
_LEAST = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A place on an axis, and its text."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A line of a value over time in a drawing of WIDTH by HEIGHT, in `pieces` where nothing is known in between.

    `summary` says the same in words.
    """

    name: str
    title: str
    summary: str
    pieces: tuple[str, ...]
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measure:
    name: str
    title: str
    value: Callable[[LoadPoint], float | None]
    text: Callable[[float], str]
    unit: float = 1.0


_MEASURES = (
    _Measure(name="requests", title="Requests/s", value=lambda point: point.requests, text=rate),
    _Measure(name="p95", title="95th percentile", value=lambda point: point.p95_s, text=duration),
    _Measure(name="memory", title="Memory", value=lambda point: point.memory, text=size, unit=2.0**20),
    _Measure(name="cpu", title="CPU", value=lambda point: point.cpu, text=percent),
)


def charts(points: Sequence[LoadPoint], span: Span, now: float) -> tuple[Chart, ...]:
    """Return a chart of each measure over a span that ends at `now`, wall-clock seconds; none without a point."""
    if not points:
        return ()
    filled = [*_filled(points, span)]
    return tuple(_chart(measure, filled, span, now) for measure in _MEASURES)


def _filled(points: Sequence[LoadPoint], span: Span) -> Iterator[LoadPoint]:
    """Yield the points, and between two of them those of the steps in which nothing happened."""
    before: LoadPoint | None = None
    for point in points:
        if before is not None and point.at - before.at <= _LONGEST_GAP_S[span.step_s]:
            missing = round((point.at - before.at) / span.step_s) - 1
            for number in range(1, missing + 1):
                yield replace(before, at=before.at + number * span.step_s, requests=0.0, p95_s=None, cpu=0.0)
        yield point
        before = point


def _chart(measure: _Measure, points: Sequence[LoadPoint], span: Span, now: float) -> Chart:
    known = [(point.at, value) for point in points if (value := measure.value(point)) is not None]
    top = _nice(max((value for _, value in known), default=0.0) / measure.unit) * measure.unit

    def x(at: float) -> float:
        return round(
            LEFT + (min(max(at, now - span.seconds), now) - now + span.seconds) / span.seconds * (RIGHT - LEFT), 1
        )

    def y(value: float) -> float:
        return round(BOTTOM - value / top * (BOTTOM - TOP), 1)

    return Chart(
        name=measure.name,
        title=measure.title,
        summary=_summary(measure, known, span),
        pieces=tuple(" ".join(f"{x(at)},{y(value)}" for at, value in piece) for piece in _pieces(known, span)),
        y_ticks=tuple(Tick(at=y(top * part), text=measure.text(top * part)) for part in (0.0, 0.5, 1.0)),
        x_ticks=tuple(
            Tick(at=x(at), text=datetime.fromtimestamp(at).astimezone().strftime("%H:%M"))
            for at in (now - span.seconds * part / _X_TICKS for part in range(_X_TICKS, -1, -1))
        ),
    )


def _pieces(known: Sequence[tuple[float, float]], span: Span) -> Iterator[list[tuple[float, float]]]:
    """Split where a step is missing; a piece of one point has it twice, so that it is drawn as a dot."""
    piece: list[tuple[float, float]] = []
    for at, value in known:
        if piece and at - piece[-1][0] > span.step_s * 1.5:
            yield piece if len(piece) > 1 else piece * 2
            piece = []
        piece.append((at, value))
    if piece:
        yield piece if len(piece) > 1 else piece * 2


def _summary(measure: _Measure, known: Sequence[tuple[float, float]], span: Span) -> str:
    over = f"{measure.title} over the last {ago(span.seconds)}"
    if not known:
        return f"{over}: nothing was measured"
    values = [value for _, value in known]
    least, most, last = (measure.text(value) for value in (min(values), max(values), values[-1]))
    return f"{over}: least {least}, most {most}, last {last}"


def _nice(value: float) -> float:
    """Return the smallest of 1, 2, 5, 10, 20… and their tenths that is at least the value, 1 for none."""
    if value < _LEAST:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((step * power for step in (1.0, 2.0, 5.0) if step * power >= value), 10.0 * power)
