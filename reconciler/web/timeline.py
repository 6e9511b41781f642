"""An app's events in, a picture's geometry out: when it served, slept or was down, and what happened to it when."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from reconciler.planning.reason import Reason
from reconciler.state.journal import Event
from reconciler.web.formatting import clock

WIDTH, HEIGHT = 960.0, 92.0
_LEFT, _RIGHT = 8.0, WIDTH - 8.0
_SHORTEST_S = 60.0
_TICKS = 6

# What an event's kind means for whether the app serves, and which mark it gets; the rest is not in the picture.
_PHASES = {"ready": "serving", "adopted": "serving", "sleeping": "sleeping", "stopped": "stopped", "exited": "down",
           "holding": "down", "removed": "stopped"}  # fmt: skip
_MARKS = {"ready": "deploy", "exited": "crash", "failed": "failure", "sleeping": "sleep", "request": "request",
          "unhealthy": "unhealthy", "staged": "staged"}  # fmt: skip
_ROLLBACKS = frozenset((Reason.ROLLED_BACK_BY_OPERATOR, Reason.FALLEN_BACK))
NAMES = {
    "deploy": "started serving", "crash": "crash", "failure": "failed try", "sleep": "fell asleep",
    "unhealthy": "unhealthy", "request": "asked for by hand", "staged": "build staged", "rollback": "rolled back",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """From `x`, `width` wide: what the app did."""

    x: float
    width: float
    phase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """At `x`: something happened, `count` times in the same place."""

    x: float
    kind: str
    text: str
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """At `x` it was `text`."""

    x: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A picture WIDTH by HEIGHT."""

    spans: tuple[Span, ...]
    marks: tuple[Mark, ...]
    ticks: tuple[Tick, ...]
    kinds: tuple[str, ...]


def timeline(events: Sequence[Event], now: float) -> Timeline | None:
    """From the oldest of these events until now (wall-clock seconds); None when there is nothing to draw."""
    told = [event for event in events if event.kind in _PHASES or event.kind in _MARKS]
    if not told:
        return None
    began = min(told[0].at, now - _SHORTEST_S)
    scale = (_RIGHT - _LEFT) / (now - began)

    def x(at: float) -> float:
        return round(_LEFT + (min(max(at, began), now) - began) * scale, 1)

    marks = tuple(_marks(told, x))
    return Timeline(
        spans=tuple(_spans(told, now, x)),
        marks=marks,
        ticks=tuple(_ticks(began, now, x)),
        kinds=tuple(kind for kind in NAMES if any(mark.kind == kind for mark in marks)),
    )


def _spans(told: Sequence[Event], now: float, x: "_Scale") -> Iterator[Span]:
    phase, since, taken_over = "", 0.0, False
    for event in told:
        after = _PHASES.get(event.kind, phase)
        if event.kind == "stopped" and phase == "serving" and taken_over:  # the predecessor ended, as it must
            after, taken_over = phase, False
        if event.kind == "ready":
            taken_over = phase == "serving"
        if after != phase:
            if phase:
                yield Span(x=x(since), width=max(1.0, round(x(event.at) - x(since), 1)), phase=phase)
            phase, since = after, event.at
    if phase:
        yield Span(x=x(since), width=max(1.0, round(x(now) - x(since), 1)), phase=phase)


def _marks(told: Sequence[Event], x: "_Scale") -> Iterator[Mark]:
    held: Mark | None = None
    for event in told:
        kind = _MARKS.get(event.kind)
        if event.kind in ("request", "ready") and event.reason in _ROLLBACKS:
            kind = "rollback"
        if kind is None:
            continue
        text = f"{clock(event.at)}: {event.text}"
        if held is not None and held.kind == kind and x(event.at) - held.x < 10:
            held = Mark(x=held.x, kind=kind, text=text, count=held.count + 1)
            continue
        if held is not None:
            yield held
        held = Mark(x=x(event.at), kind=kind, text=text)
    if held is not None:
        yield held


def _ticks(began: float, now: float, x: "_Scale") -> Iterator[Tick]:
    long = now - began > 86400
    for number in range(_TICKS):
        at = began + (now - began) * number / (_TICKS - 1)
        told = clock(at)
        yield Tick(x=x(at), text=told[5:16] if long else told[11:19])


class _Scale(Protocol):
    """Seconds to a place."""

    def __call__(self, at: float) -> float: ...


def sparkline(values: Sequence[float], width: float = 96, height: float = 22) -> str:
    """The points of a polyline, from zero at the bottom; empty when there is too little to draw."""
    if len(values) < 2:
        return ""
    most = max(values) or 1.0
    step = width / (len(values) - 1)
    return " ".join(f"{n * step:.1f},{height - 1 - v / most * (height - 2):.1f}" for n, v in enumerate(values))
