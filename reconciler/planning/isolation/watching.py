"""Decide about what an instance uses of its memory: when to look again, and when a new instance is to take over."""

from dataclasses import field

from reconciler.linux.dataclass import dataclass
from reconciler.planning.isolation.limits import Limits

EVERY_S = 5.0
_SHORTEST_S = 0.05
_STEP_S = EVERY_S / 10
_YOUNG_SHARE = 0.25
# What a hand-over takes beside the start of the new instance, and how much longer that start may take than the last.
_HAND_OVER_S, _SLOWER = 0.3, 1.5
_MB = 1 << 20
# Share of the time that processes wait for memory, and for how long: there is too little of it.
PRESSED, PRESSED_FOR_S = 0.2, 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What an instance used of its memory, in bytes, when it was looked at, monotonic seconds, and by how much it grew.

    `growth` is bytes a second since the look before; `pace` is the smaller of the last two growths: what grows once has
    none.
    """

    at: float
    memory: int
    growth: float = 0.0
    pace: float = 0.0

    def next(self, at: float, memory: int) -> "Use":
        """Return what is used at a later time."""
        seconds = at - self.at
        growth = (memory - self.memory) / seconds if seconds > 0 else self.growth
        return Use(at=at, memory=memory, growth=growth, pace=max(0.0, min(growth, self.growth)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """Since when processes have waited for memory too much of their time, None while they do not."""

    since: float | None = None
    told: bool = field(default=False)

    def next(self, share: float, at: float) -> "Pressure":
        """Return that after another look; `share` is of the time."""
        if share < PRESSED:
            return Pressure()
        since = at if self.since is None else self.since
        return Pressure(since=since, told=self.told)

    def is_due(self, at: float) -> bool:
        """Whether it has lasted, and was not told."""
        return self.since is not None and not self.told and at - self.since >= PRESSED_FOR_S


def takes_over_at(use: Use, limits: Limits, *, start_s: float) -> float | None:
    """Return the bytes at which a new instance is to take over, None for never.

    It is `soft`, or less, down to its half, where an instance that takes `start_s` to be ready would come too late at
    the present pace.
    """
    soft = limits.soft_memory
    if soft is None or limits.memory is None:
        return soft
    return min(soft, max(soft / 2, limits.memory - use.pace * (start_s * _SLOWER + _HAND_OVER_S)))


def look_again_s(use: Use, limits: Limits, *, age_s: float, start_s: float) -> float:
    """Return the seconds until the next look: sooner of one that is young, or that would reach its limit before.

    At the present pace it uses no more than half of what is left until then.
    """
    most = takes_over_at(use, limits, start_s=start_s)
    wait_s = min(EVERY_S, max(_SHORTEST_S, age_s * _YOUNG_SHARE))
    if most is None or use.growth <= 0 or use.memory >= most:
        return wait_s
    return min(wait_s, max(_SHORTEST_S, (most - use.memory) / use.growth / 2))


def together(due: float, now: float) -> float:
    """Return when to look at an instance that is due at a time, monotonic seconds: a bit sooner, with others.

    One that is due within a second is looked at when it is due.
    """
    return due if due - now < 2 * _STEP_S else due // _STEP_S * _STEP_S


def near(use: Use, limits: Limits, *, age_s: float, start_s: float, rest_s: float) -> str:
    """Say how near an instance is to its limit if a new one is to take over now, else "".

    One that was started a short time ago stays: an app that needs as much is not started again and again.
    """
    most = takes_over_at(use, limits, start_s=start_s)
    if most is None or use.memory < most or age_s < rest_s:
        return ""
    soft = limits.soft_memory or 0
    more = f", and takes {use.pace / _MB:.0f} MB more each second" if use.memory < soft else ""
    return f"it has {use.memory // _MB} of {(limits.memory or soft) // _MB} MB{more}"
