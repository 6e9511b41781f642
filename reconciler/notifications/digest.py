"""How everything stands, and what was told of it, in; the one message that is due, out. Pure: time is an argument.

Each subject (an app, or "" for the host) is told of at most once in `every_s`, with the count of what changed since.
All that is due at once is one message; what recovered before anybody may have heard of it is no news.
"""

from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["well", "degraded", "failing"]
# What a target knows after a try that may have reached it: whatever comes next is news to it.
Known: TypeAlias = Severity | Literal["unsure"]

_TEXT_LIMIT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a message. `changes` is how often it changed since it was last told of."""

    app: str
    severity: Severity
    text: str
    changes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectNews:
    """How one app or the host stands since `since`, and what was told of it at `told_at`; monotonic seconds."""

    severity: Known = "well"
    text: str = ""
    since: float = float("-inf")
    changes: int = 0
    told: Known = "well"
    told_at: float = float("-inf")


@dataclass(slots=True, kw_only=True)
class Digest:
    """Everything that one target should know or knows. Bounded by the number of apps."""

    every_s: float
    settle_s: float
    _subjects: dict[str, SubjectNews] = field(default_factory=dict)

    def restore(self, told: dict[str, Known]) -> None:
        """What an earlier daemon told, which is how things are taken to stand until something else is known."""
        for app, standing in told.items():
            self._subjects[app] = SubjectNews(severity=standing, told=standing)

    def told(self) -> dict[str, Known]:
        """What of it a later daemon must know."""
        return {app: subject.told for app, subject in self._subjects.items() if subject.told != "well"}

    def stands(self, app: str, standing: Severity, text: str, now: float) -> bool:
        """A subject stands so now; True when it did not before."""
        before = self._subjects.get(app, SubjectNews())
        if before.severity == standing:
            self._subjects[app] = replace(before, text=text)
        else:
            self._subjects[app] = replace(before, severity=standing, text=text, since=now, changes=before.changes + 1)
        return before.severity != standing

    def gone(self, app: str) -> None:
        """Nothing is asked of the app any more, so nothing is to be told."""
        self._subjects.pop(app, None)

    def due(self, now: float) -> tuple[Entry, ...]:
        """What is to be told now, by name; the host first."""
        return tuple(
            Entry(app=app, severity=s.severity, text=" ".join(s.text.split())[:_TEXT_LIMIT], changes=s.changes)
            for app, s in sorted(self._subjects.items())
            if s.severity != "unsure" and self._due_at(s) <= now
        )

    def next_at(self) -> float | None:
        """When something is due, None while nothing will be."""
        times = [at for at in map(self._due_at, self._subjects.values()) if at != float("inf")]
        return min(times, default=None)

    def trying(self, items: tuple[Entry, ...]) -> None:
        """These are about to be told, and from here on may have been."""
        for item in items:
            self._subjects[item.app] = replace(self._subjects[item.app], told="unsure")

    def tell(self, items: tuple[Entry, ...], now: float) -> None:
        """These were told; what changed meanwhile is news still."""
        for item in items:
            subject = self._subjects.get(item.app)
            if subject is not None:
                left = max(0, subject.changes - item.changes)
                self._subjects[item.app] = replace(subject, told=item.severity, told_at=now, changes=left)

    def _due_at(self, subject: SubjectNews) -> float:
        flapped = subject.changes > 1 and subject.severity != "well"
        if subject.severity == subject.told and not (flapped and subject.told != "well"):
            return float("inf")
        return max(subject.since + self.settle_s, subject.told_at + self.every_s)
