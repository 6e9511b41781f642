"""How everything stands, and what was told of it, in; the one message that is due, out. Pure: time is an argument.

Each subject (an app, or "" for the host) is told of at most once in `every_s`, with the count of what changed since.
All that is due at once is one message; what recovered before anybody may have heard of it is no news.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, get_args

from reconciler.planning.subject import HOST, Subject, SubjectKind

Severity: TypeAlias = Literal["healthy", "degraded", "failing"]
# What a target knows after a try that may have reached it: whatever comes next is news to it.
Known: TypeAlias = Severity | Literal["unsure"]

_TEXT_LIMIT = 500
# By the word in the database; an earlier commit stored "well".
_KNOWN: Mapping[str, Known] = {
    "well": "healthy", "healthy": "healthy", "degraded": "degraded", "failing": "failing", "unsure": "unsure",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a message. `changes` is how often it changed since it was last told of."""

    subject: Subject
    severity: Severity
    text: str
    changes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectNews:
    """How one app or the host stands since `since`, and what was told of it at `told_at`; monotonic seconds."""

    severity: Known = "healthy"
    text: str = ""
    since: float = float("-inf")
    changes: int = 0
    told: Known = "healthy"
    told_at: float = float("-inf")


@dataclass(slots=True, kw_only=True)
class Digest:
    """Everything that one target should know or knows. Bounded by the number of apps."""

    every_s: float
    settle_s: float
    _subjects: dict[Subject, SubjectNews] = field(default_factory=dict)

    def restore(self, told: Mapping[str, str]) -> None:
        """What an earlier daemon told, which is how things are taken to stand until something else is known."""
        for key, severity in told.items():
            known = _KNOWN.get(severity, "unsure")
            self._subjects[_subject_of(key)] = SubjectNews(severity=known, told=known)

    def told(self) -> dict[str, Known]:
        """What of it a later daemon must know."""
        return {_key_of(subject): news.told for subject, news in self._subjects.items() if news.told != "healthy"}

    def stands(self, subject: Subject, standing: Severity, text: str, now: float) -> bool:
        """A subject stands so now; True when it did not before."""
        before = self._subjects.get(subject, SubjectNews())
        if before.severity == standing:
            self._subjects[subject] = replace(before, text=text)
        else:
            self._subjects[subject] = replace(
                before, severity=standing, text=text, since=now, changes=before.changes + 1
            )
        return before.severity != standing

    def gone(self, subject: Subject) -> None:
        """Drop a subject that is gone."""
        self._subjects.pop(subject, None)

    def due(self, now: float) -> tuple[Entry, ...]:
        """What is to be told now, by name; the host first."""
        return tuple(
            Entry(subject=subject, severity=s.severity, text=" ".join(s.text.split())[:_TEXT_LIMIT], changes=s.changes)
            for subject, s in sorted(self._subjects.items(), key=lambda item: _order(item[0]))
            if s.severity != "unsure" and self._due_at(s) <= now
        )

    def next_at(self) -> float | None:
        """When something is due, None while nothing will be."""
        times = [at for at in map(self._due_at, self._subjects.values()) if at != float("inf")]
        return min(times, default=None)

    def trying(self, items: tuple[Entry, ...]) -> None:
        """These are about to be told, and from here on may have been."""
        for item in items:
            self._subjects[item.subject] = replace(self._subjects[item.subject], told="unsure")

    def tell(self, items: tuple[Entry, ...], now: float) -> None:
        """These were told; what changed meanwhile is news still."""
        for item in items:
            news = self._subjects.get(item.subject)
            if news is not None:
                left = max(0, news.changes - item.changes)
                self._subjects[item.subject] = replace(news, told=item.severity, told_at=now, changes=left)

    def _due_at(self, subject: SubjectNews) -> float:
        flapped = subject.changes > 1 and subject.severity != "healthy"
        if subject.severity == subject.told and not (flapped and subject.told != "healthy"):
            return float("inf")
        return max(subject.since + self.settle_s, subject.told_at + self.every_s)


def _order(subject: Subject) -> tuple[int, str]:
    return ("host", "service", "app").index(subject.kind), subject.name


def _key_of(subject: Subject) -> str:
    return f"{subject.kind}/{subject.name}"


def _subject_of(key: str) -> Subject:
    """Return the subject of a stored key; an earlier commit stored a bare name, with a prefix for services."""
    for kind in get_args(SubjectKind):
        if key.startswith(f"{kind}/"):
            return Subject(kind, key.removeprefix(f"{kind}/"))
    if key.startswith("service "):
        return Subject("service", key.removeprefix("service "))
    return Subject("app", key) if key else HOST
