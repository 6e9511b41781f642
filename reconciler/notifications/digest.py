"""Collect what one target is to be notified of, and decide when it is due. Pure: time is an argument.

Each subject is reported at most once in `every_s`, with the number of changes since. Everything due at one time is one
message; trouble that ended before a target may have known of it is not reported.
"""

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Literal, TypeAlias, get_args

from reconciler.linux.dataclass import dataclass
from reconciler.planning.states import Severity
from reconciler.planning.subject import HOST, Subject, SubjectKind

# After a try that may have reached the target, what it knows is unsure, and the next state is reported in any case.
Known: TypeAlias = Severity | Literal["unsure"]

_TEXT_LIMIT = 500
_LINES_LIMIT = 5000
# By the word in the database; an earlier commit stored "well".
_KNOWN: Mapping[str, Known] = {
    "well": "healthy", "healthy": "healthy", "degraded": "degraded", "failing": "failing", "unsure": "unsure",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a message. `changes` is how often the subject changed since it was last reported."""

    subject: Subject
    severity: Severity
    text: str
    changes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectNews:
    """The severity of one subject since `since`, and the one reported at `reported_at`; monotonic seconds."""

    severity: Known = "healthy"
    text: str = ""
    since: float = float("-inf")
    changes: int = 0
    reported: Known = "healthy"
    reported_at: float = float("-inf")


@dataclass(slots=True, kw_only=True)
class Digest:
    """Everything that one target knows or is to know. Its size is bounded by the number of subjects."""

    every_s: float
    delay_s: float
    _subjects: dict[Subject, SubjectNews] = field(default_factory=dict)

    def restore(self, reported: Mapping[str, str]) -> None:
        """Take what an earlier daemon reported, which is assumed to be current until a report says otherwise."""
        for key, severity in reported.items():
            known = _KNOWN.get(severity, "unsure")
            self._subjects[_subject_of(key)] = SubjectNews(severity=known, reported=known)

    def reported(self) -> dict[str, Known]:
        """Return what a later daemon must know of what was reported."""
        subjects = self._subjects.items()
        return {_key_of(subject): news.reported for subject, news in subjects if news.reported != "healthy"}

    def update(self, subject: Subject, severity: Severity, text: str, now: float) -> bool:
        """Take the severity of a subject; True when it changed."""
        before = self._subjects.get(subject, SubjectNews())
        if before.severity == severity:
            self._subjects[subject] = replace(before, text=text)
        else:
            self._subjects[subject] = replace(
                before, severity=severity, text=text, since=now, changes=before.changes + 1
            )
        return before.severity != severity

    def forget(self, subject: Subject) -> None:
        """Drop a subject that was removed."""
        self._subjects.pop(subject, None)

    def due(self, now: float) -> tuple[Entry, ...]:
        """Return what to report now, by name; the host first."""
        return tuple(
            Entry(subject=subject, severity=s.severity, text=_shortened(subject, s.text), changes=s.changes)
            for subject, s in sorted(self._subjects.items(), key=lambda item: _order(item[0]))
            if s.severity != "unsure" and self._due_at(s) <= now
        )

    def next_at(self) -> float | None:
        """Return when something is due next, None while nothing is."""
        times = [at for at in map(self._due_at, self._subjects.values()) if at != float("inf")]
        return min(times, default=None)

    def begin(self, entries: tuple[Entry, ...]) -> None:
        """Mark entries that are about to be sent: from here on, the target may know of them."""
        for entry in entries:
            self._subjects[entry.subject] = replace(self._subjects[entry.subject], reported="unsure")

    def complete(self, entries: tuple[Entry, ...], now: float) -> None:
        """Mark entries that were sent; what changed meanwhile is still to be reported."""
        for entry in entries:
            news = self._subjects.get(entry.subject)
            if news is not None:
                left = max(0, news.changes - entry.changes)
                self._subjects[entry.subject] = replace(news, reported=entry.severity, reported_at=now, changes=left)

    def _due_at(self, subject: SubjectNews) -> float:
        flapped = subject.changes > 1 and subject.severity != "healthy"
        if subject.severity == subject.reported and not (flapped and subject.reported != "healthy"):
            return float("inf")
        return max(subject.since + self.delay_s, subject.reported_at + self.every_s)


def _shortened(subject: Subject, text: str) -> str:
    """Return a text as it is sent: one line, but of a schedule with the last lines that its task printed."""
    if subject.kind != "schedule":
        return " ".join(text.split())[:_TEXT_LIMIT]
    lines = [" ".join(each.split()) for each in text.splitlines()]
    return "\n".join(each[:_TEXT_LIMIT] for each in lines if each)[:_LINES_LIMIT]


def _order(subject: Subject) -> tuple[int, str]:
    return ("host", "origin", "proxy", "service", "app", "schedule").index(subject.kind), subject.name


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
