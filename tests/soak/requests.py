"""Requests at a steady rate to every app, each on a connection of its own, and what became of those that failed.

A failure is excused only by something that was done to that app on purpose, at that time: a process of it was killed
while it may have been inside, or its port was asked to be closed.
"""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tests.support.load import ask

# The kernel ends a killed worker's connections at once; those of a killed master's workers end when they do.
_KILL_LASTS_S = 5.0
_AT_ONCE = 64
_OFTEN_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A request that was not answered with 200."""

    app: str
    outcome: str
    began: float
    ended: float
    excuse: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An edit, by what it was, and how long it took until an answer showed it."""

    app: str
    deed: str
    since: float
    seconds: float


@dataclass(slots=True, kw_only=True)
class _Excuse:
    why: str
    outcomes: frozenset[str] | None
    since: float
    until: float

    def covers(self, outcome: str, began: float, ended: float) -> bool:
        return (self.outcomes is None or outcome in self.outcomes) and self.since <= ended and began <= self.until


@dataclass(slots=True, kw_only=True)
class Requests:
    """Asks all of `ports`, `rate` times a second in all; `rarely` names apps that are only asked every few seconds.

    What an app was last asked to be is told with `expect`; `shown` holds how long it took to answer so.
    """

    ports: Mapping[str, int]
    rate: float
    rarely: frozenset[str]
    sent: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    _excuses: dict[str, list[_Excuse]] = field(default_factory=dict)
    _expected: dict[str, tuple[float, str, str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ending: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    # What was done to an app

    def killed(self, app: str, what: str) -> None:
        """Say so just before."""
        now = time.monotonic()
        excuse = _Excuse(
            why=f"{what} killed by the soak", outcomes=frozenset(("reset",)), since=now, until=now + _KILL_LASTS_S
        )
        with self._lock:
            self._excuses.setdefault(app, []).append(excuse)

    def closing(self, app: str) -> None:
        """Its port was asked to be closed, until it answers as next expected; say so just before."""
        excuse = _Excuse(why="port asked to be closed", outcomes=None, since=time.monotonic(), until=float("inf"))
        with self._lock:
            self._expected.pop(app, None)
            self._excuses.setdefault(app, []).append(excuse)

    def expect(self, app: str, body: str, after: str) -> None:
        """What it is to answer from now on, because of a deed; its former expectation is void."""
        with self._lock:
            self._expected[app] = (time.monotonic(), body, after)

    def expect_nothing(self, app: str) -> None:
        with self._lock:
            self._expected.pop(app, None)

    def awaited(self) -> dict[str, str]:
        """The apps that do not answer as expected yet, with that body."""
        with self._lock:
            return {app: body for app, (_, body, _) in self._expected.items()}

    # Asking

    def start(self) -> None:
        for run in (self._steadily, self._often):
            thread = threading.Thread(target=run, daemon=True)
            self._threads.append(thread)
            thread.start()

    def end(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _steadily(self) -> None:
        frequent = itertools.cycle(sorted(self.ports.keys() - self.rarely))
        rare = itertools.cycle(sorted(self.rarely) or [None])
        each, due = max(1, int(self.rate * 10 / max(1, len(self.rarely)))), time.monotonic()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for number in itertools.count():
                sleeper = next(rare) if number % each == 0 else None
                pool.submit(self._ask, sleeper or next(frequent))
                due += 1 / self.rate
                if self._ending.wait(max(0.0, due - time.monotonic())):
                    break

    def _often(self) -> None:
        """Ask apps that have something to show more often than the others."""
        with ThreadPoolExecutor(8) as pool:
            while not self._ending.wait(_OFTEN_S):
                list(pool.map(self._ask, self.awaited()))

    def _ask(self, app: str) -> None:
        began = time.monotonic()
        outcome, body = ask(self.ports[app])
        ended = time.monotonic()
        with self._lock:
            self.sent[outcome] += 1
            if outcome == "ok":
                self._answered(app, began, ended, body or "")
            else:
                excuse = self._excuse(app, outcome, began, ended)
                self.failures.append(Failure(app=app, outcome=outcome, began=began, ended=ended, excuse=excuse))

    def _answered(self, app: str, began: float, ended: float, body: str) -> None:
        since, expected, after = self._expected.get(app, (began, None, ""))
        if expected == body and began >= since:
            self.shown.append(Shown(app=app, deed=after, since=since, seconds=ended - since))
            del self._expected[app]
            for excuse in self._excuses.get(app, ()):
                if excuse.outcomes is None:
                    excuse.until = min(excuse.until, began)

    def _excuse(self, app: str, outcome: str, began: float, ended: float) -> str | None:
        found = (each.why for each in self._excuses.get(app, ()) if each.covers(outcome, began, ended))
        return next(found, None)
