"""Look at the load of apps whose number of workers is chosen by need, and have the number changed.

An app that does nothing is looked at once in a while, and at once when a client connects. Nothing is stored: a new
daemon begins with the workers that it finds.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Protocol

from reconciler.host.stores import Stores
from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import App
from reconciler.planning.reason import Reason
from reconciler.planning.scaling.brakes import SATURATED_S, HostRoom, Share, held_back, limit_of, shared
from reconciler.planning.scaling.load import Load, Look
from reconciler.planning.scaling.observed import UNDECIDED, ScalingState
from reconciler.planning.scaling.scale import Decision, scale
from reconciler.planning.scaling.worker_range import WorkerRange
from reconciler.planning.wording import counted, shortly

_IDLE_S, _SETTLING_S, _ACTIVE_S = 60.0, 5.0, 0.25
_LASTS_S = 1.0  # an app is active so long after the last that was seen of a request
_TOGETHER_S = 5.0


@dataclass(slots=True)
class _Watched:
    """An app with a range: when it is looked at next, when it was seen active last, what is known of it.

    It has too few workers since `short_since`. `manifest` is its range, `asked` what holds now: the same, or the number
    that an operator asked for.
    """

    manifest: WorkerRange
    asked: WorkerRange
    due: float = 0.0
    active_at: float = float("-inf")
    woken: bool = False
    load: Load | None = None
    given: Decision | None = None
    held: str = ""
    short_since: float | None = None
    short_cpu_s: float = 0.0
    saturated: str = ""


class Readings(Protocol):
    """What the number of an app's workers is decided by."""

    def look_at(self, name: str, now: float) -> Look | None:
        """Return what an app is like now, None while it does not serve."""
        ...

    def held(self, app: App, now: float) -> int | None:
        """Return the number of workers that an operator asked for while that holds, None otherwise."""
        ...

    def at_door(self, name: str) -> int:
        """Return how many workers the connections ask for that wait where an app does not serve, 0 where it does."""
        ...

    def room(self, name: str) -> HostRoom:
        """Return what the host can give to an app."""
        ...

    def cpu_s(self, name: str) -> float:
        """Return the processor seconds that the instance which serves has used."""
        ...


class ScaleWatch:
    """Decides about every app with a range; costs nothing without one.

    `expect` calls back at the next connection to an app. The app whose number is to change is woken. `budget` is of all
    apps together.
    """

    def __init__(
        self,
        stores: Stores,
        wake: Callable[[str], None],
        readings: Readings,
        *,
        expect: Callable[[str, Callable[[], None]], None],
        budget: int,
    ) -> None:
        self._record = stores.record_event
        self._wake = wake
        self._readings = readings
        self._expect = expect
        self._budget = budget
        self._desired: Mapping[str, App] = {}
        self._apps: dict[str, _Watched] = {}
        self._states: dict[str, ScalingState] = {}
        self._changed = asyncio.Event()

    def follow(self, apps: Mapping[str, App]) -> None:
        """Learn which apps have a range, and which."""
        ranges = {n: a.worker_range for n, a in apps.items() if a.worker_range is not None and a.state == "running"}
        for name in self._apps.keys() - ranges.keys():
            del self._apps[name]
            self._set(name, **asdict(UNDECIDED))
        for name, asked in ranges.items():
            watched = self._apps.setdefault(name, _Watched(manifest=asked, asked=asked))
            if watched.manifest != asked:
                self._apps[name] = _Watched(manifest=asked, asked=asked, load=watched.load, given=watched.given)
        self._desired = apps
        self._changed.set()

    def state(self, name: str) -> ScalingState | None:
        """Return what is known of the number of an app's workers beside its manifest, None for nothing."""
        known, watched = self._states.get(name), self._apps.get(name)
        asked = 0 if watched is None else self._readings.at_door(name)
        if watched is None or not asked:
            return known
        used = (each.load.look.workers for other, each in self._apps.items() if other != name and each.load is not None)
        wanted, least = watched.asked.within(min(asked, self._budget - sum(used))), watched.asked.least
        given, _ = held_back(Decision(workers=wanted), least, self._readings.room(name))
        return replace(known or UNDECIDED, at_door=max(least, given.workers))

    def awake(self, name: str) -> None:
        """Look at an app soon: a client has connected, or an instance of it has begun to serve."""
        watched = self._apps.get(name)
        if watched is not None:
            watched.due, watched.woken = 0.0, True
            self._changed.set()

    def wanted(self) -> dict[str, int]:
        """Return how many workers each app with a range is to have."""
        decisions = ((name, state.decision) for name, state in self._states.items())
        return {name: decision.workers for name, decision in decisions if decision is not None}

    def figures(self) -> dict[str, Any]:
        """Return that as JSON data, and the share of their time that the workers of each app work."""
        loads = ((name, each.load) for name, each in self._apps.items() if each.load is not None)
        return {"workers_wanted": self.wanted(), "workers_busy": {name: round(load.busy, 3) for name, load in loads}}

    async def run(self, now: Callable[[], float]) -> None:
        """Look until cancelled; `now` is monotonic seconds."""
        while True:
            self._changed.clear()
            wait_s = self.look(now())
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()

    def look(self, now: float) -> float | None:
        """Look at every app for which it is time; return the seconds until the next look, None without any app."""
        due = [name for name, watched in self._apps.items() if now >= watched.due]
        for name in due:
            self._look(name, self._apps[name], now)
        if any(self._apps[name].given is not None for name in due):
            self._share(now)
        return min((max(0.01, each.due - now) for each in self._apps.values()), default=None)

    def _look(self, name: str, watched: _Watched, now: float) -> None:
        seen = self._readings.look_at(name, now)
        if seen is None:
            watched.load, watched.given, watched.due = None, None, now + _IDLE_S
            watched.short_since = None
            return
        held = self._readings.held(self._desired[name], now)
        watched.asked = watched.manifest if held is None else replace(watched.manifest, least=held, most=held, spare=0)
        before = watched.load
        watched.load = Load.first(watched.asked, seen) if before is None else before.next(watched.asked, seen)
        decision = scale(watched.asked, watched.load, now)
        watched.held = ""
        if decision.workers > seen.workers and held is None:
            decision, watched.held = held_back(decision, seen.workers, self._readings.room(name))
        watched.given = decision
        watched.due = self._next(name, watched, before, now)

    def _next(self, name: str, watched: _Watched, before: Load | None, now: float) -> float:
        """Return when to look again: soon after a request was seen, seldom while nothing happens."""
        load = watched.load
        assert load is not None
        look = load.look
        was_answered = before is None or look.answered != before.look.answered
        woken, watched.woken = watched.woken, False
        if woken or was_answered or look.in_flight or look.queue or load.late:
            watched.active_at = now
        if now < watched.active_at + _LASTS_S or load.raised_at > now - look.start_s:
            return now + _ACTIVE_S
        self._expect(name, partial(self.awake, name))
        return now // _TOGETHER_S * _TOGETHER_S + (_IDLE_S if look.workers == watched.asked.least else _SETTLING_S)

    def _share(self, now: float) -> None:
        """Share the budget, and say of each app that was looked at how many workers it is to have."""
        known = {name: each for name, each in self._apps.items() if each.given is not None and each.load is not None}
        shares = {name: _share_of(each, self._states.get(name, UNDECIDED).decision) for name, each in known.items()}
        given = {name: share.wanted for name, share in shares.items()}
        if sum(given.values()) > self._budget:
            given = shared(self._budget, shares)
        for name, watched in known.items():
            assert watched.given is not None
            assert watched.load is not None
            decision, has = watched.given, watched.load.look.workers
            if given[name] < decision.workers:
                takes = given[name] < has and given[name] < shares[name].wanted
                cause = "other apps need workers more" if takes else decision.cause
                decision = replace(decision, workers=given[name], cause=cause)
                watched.held = watched.held or f"the {counted(self._budget, 'worker')} of all apps together"
            self._decide(name, decision, watched.load.look)
            self._look_at_limit(name, watched, decision, now)

    def _decide(self, name: str, decision: Decision, look: Look) -> None:
        before = self._states.get(name, UNDECIDED)
        is_known = before.decision is not None and before.decision.workers == decision.workers
        if not is_known or before.instance != look.instance:
            self._set(name, decision=decision, decided_at=look.at, instance=look.instance)

    def _look_at_limit(self, name: str, watched: _Watched, decision: Decision, now: float) -> None:
        """Say what the limit is of an app whose load has asked for more than it gets for a minute."""
        assert watched.load is not None
        if decision.asked <= max(decision.workers, watched.load.look.workers):
            watched.short_since = None
            if watched.saturated:
                watched.saturated = ""
                self._set(name, saturated="")
            return
        if watched.short_since is None:
            watched.short_since, watched.short_cpu_s = now, self._readings.cpu_s(name)
        seconds = now - watched.short_since
        if watched.saturated or seconds < SATURATED_S:
            return
        cpu = max(0.0, self._readings.cpu_s(name) - watched.short_cpu_s) / seconds
        room = self._readings.room(name)
        pressed = room.pressure > room.most_pressure
        watched.saturated = limit_of(watched.asked, watched.load, cpu=cpu, pressed=pressed, held=watched.held)
        self._set(name, saturated=watched.saturated)
        has = watched.load.look.workers
        text = f"{counted(has, 'worker')} {'is' if has == 1 else 'are'} not enough: {watched.saturated}"
        self._record(name, "saturated", text, _waits(watched.load), Reason.SATURATED)

    def _set(self, name: str, **changes: Any) -> None:
        before = self._states.get(name, UNDECIDED)
        after = replace(before, **changes)
        if after == before:
            return
        if after == UNDECIDED:
            self._states.pop(name, None)
        else:
            self._states[name] = after
        self._wake(name)


def _share_of(watched: _Watched, decided: Decision | None) -> Share:
    """Return what an app has of the budget, with workers that it was given and that no look has seen yet."""
    assert watched.load is not None
    assert watched.given is not None
    return Share(
        least=watched.asked.least,
        has=max(watched.load.look.workers, decided.workers if decided is not None else 0),
        wanted=watched.given.workers,
        need=max(watched.load.need(watched.asked), watched.load.hurry()),
    )


def _waits(load: Load) -> str:
    return f"requests wait {shortly(load.wait_s)} (queue {load.look.queue})" if load.wait_s else f"{load.busy:.0%} busy"
