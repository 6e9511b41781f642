"""The timeline of an app: geometry of when it served, slept or was down, and of what happened when."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from reconciler.inspection.printable import clock
from reconciler.linux.dataclass import dataclass
from reconciler.planning.reason import IN_MAINTENANCE, Reason
from reconciler.state.journal import Event

WIDTH, HEIGHT = 960.0, 92.0
_LEFT, _RIGHT = 8.0, WIDTH - 8.0
_SHORTEST_S = 60.0
_TICKS = 6

# The phase that begins with an event when no instance serves after it, and the mark it gets; others are not drawn.
_PHASES = {"ready": "serving", "adopted": "serving", "sleeping": "sleeping", "stopped": "stopped", "exited": "down",
           "holding": "down", "removed": "stopped"}  # fmt: skip
# An instance that is stopped for one of these reasons leaves another that serves.
_ANOTHER_SERVES = frozenset((Reason.HANDING_OVER, Reason.SURPLUS))
_MARKS = {"ready": "deploy", "exited": "crash", "failed": "failure", "sleeping": "sleep", "request": "request",
          "unhealthy": "unhealthy", "staged": "staged"}  # fmt: skip
PHASES = ("serving", "sleeping", "down", "maintenance", "stopped")
_ROLLBACKS = frozenset((Reason.ROLLED_BACK_BY_OPERATOR, Reason.FALLEN_BACK))
NAMES = {
    "deploy": "started serving", "crash": "crash", "failure": "failed action", "sleep": "went to sleep",
    "unhealthy": "unhealthy", "request": "request", "staged": "build staged", "rollback": "rolled back",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A phase of the app, from `x` on and `width` wide."""

    x: float
    width: float
    phase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """An event at `x`; `count` is how many of its kind share the mark."""

    x: float
    kind: str
    text: str
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A time of day at `x`."""

    x: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A drawing of WIDTH by HEIGHT."""

    spans: tuple[Span, ...]
    marks: tuple[Mark, ...]
    ticks: tuple[Tick, ...]
    kinds: tuple[str, ...]


def timeline(events: Sequence[Event], now: float) -> Timeline | None:
    """Return the timeline of the web from the oldest of these events until `now`, wall-clock seconds."""
    drawn = [event for event in events if not event.process and (event.kind in _PHASES or event.kind in _MARKS)]
    if not drawn:
        return None
    began = min(drawn[0].at, now - _SHORTEST_S)
    scale = (_RIGHT - _LEFT) / (now - began)

    def x(at: float) -> float:
        return round(_LEFT + (min(max(at, began), now) - began) * scale, 1)

    marks = tuple(_marks(drawn, x))
    return Timeline(
        spans=tuple(_spans(drawn, now, x)),
        marks=marks,
        ticks=tuple(_ticks(began, now, x)),
        kinds=tuple(kind for kind in NAMES if any(mark.kind == kind for mark in marks)),
    )


def _spans(drawn: Sequence[Event], now: float, x: "_Scale") -> Iterator[Span]:
    phase, since, serving, before = "", 0.0, 0, ""
    for event in drawn:
        serving, before = _serving_after(event, serving, before), event.kind
        after = _PHASES.get(event.kind, phase)
        if serving:
            after = "serving"
        elif event.kind == "stopped" and event.reason in _ANOTHER_SERVES:
            after = phase
        elif event.kind in ("stopped", "holding") and event.reason in IN_MAINTENANCE:
            after = "maintenance"
        if after != phase:
            if phase:
                yield Span(x=x(since), width=max(1.0, round(x(event.at) - x(since), 1)), phase=phase)
            phase, since = after, event.at
    if phase:
        yield Span(x=x(since), width=max(1.0, round(x(now) - x(since), 1)), phase=phase)


def _serving_after(event: Event, serving: int, before: str) -> int:
    """Return how many instances serve after an event, `before` being the kind of the one before it.

    The first events may be about instances that became ready before them.
    """
    match event.kind:
        case "ready":
            return serving + 1
        case "adopted":  # by a new daemon, which begins with all that are alive
            return serving + 1 if before == "adopted" else 1
        case "stopped" if event.reason in _ANOTHER_SERVES:
            return max(min(serving, 1), serving - 1)
        case "stopped" | "exited":
            return max(0, serving - 1)
        case "sleeping" | "holding" | "removed":
            return 0
    return serving


def _marks(drawn: Sequence[Event], x: "_Scale") -> Iterator[Mark]:
    last: Mark | None = None
    for event in drawn:
        kind = _MARKS.get(event.kind)
        if event.kind in ("request", "ready") and event.reason in _ROLLBACKS:
            kind = "rollback"
        if kind is None:
            continue
        text = f"{clock(event.at)}: {event.text}"
        if last is not None and last.kind == kind and x(event.at) - last.x < 10:
            last = Mark(x=last.x, kind=kind, text=text, count=last.count + 1)
            continue
        if last is not None:
            yield last
        last = Mark(x=x(event.at), kind=kind, text=text)
    if last is not None:
        yield last


def _ticks(began: float, now: float, x: "_Scale") -> Iterator[Tick]:
    long = now - began > 86400
    for number in range(_TICKS):
        at = began + (now - began) * number / (_TICKS - 1)
        text = clock(at)
        yield Tick(x=x(at), text=text[5:16] if long else text[11:19])


class _Scale(Protocol):
    """Maps wall-clock seconds to `x`."""

    def __call__(self, at: float) -> float: ...


def sparkline(values: Sequence[float], width: float = 96, height: float = 22) -> str:
    """Return the points of a polyline, zero at the bottom; empty for fewer than two values."""
    if len(values) < 2:
        return ""
    most = max(values) or 1.0
    step = width / (len(values) - 1)
    return " ".join(f"{n * step:.1f},{height - 1 - v / most * (height - 2):.1f}" for n, v in enumerate(values))
