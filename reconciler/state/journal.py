"""The journal of events: append them, delete the oldest, and show each to followers.

An event is redacted before it is written or shown: what an app or a tool printed may stand in it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Literal, TypeAlias, get_args

from reconciler.linux.dataclass import dataclass
from reconciler.linux.encodable import encodable
from reconciler.planning.name_patterns import is_pattern
from reconciler.planning.subject import HOST, Subject
from reconciler.state.database import Database
from reconciler.state.table import Table

# Stable: schemas/event.schema.json lists the same for programs.
EventKind: TypeAlias = Literal[
    "daemon", "manifest", "source", "staging", "staged", "releasing", "released", "started", "ready", "exited",
    "adopted", "stopping", "stopped", "discarded", "failed", "listening", "removed", "holding", "sleeping", "request",
    "unhealthy", "healthy", "recovered", "scaled", "data", "provisioned", "bound", "unbound", "backup", "secrets",
    "fetched", "accepted", "refused", "applied", "waiting", "task", "configured", "limited", "exceeded", "saturated",
    "canary", "promoted", "aborted",
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(EventKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to a subject. `at` is wall-clock seconds; programs read `kind` and `reason`.

    `id` is 0 as long as it is not written down. `process` is that of the app which it is about, empty for its web.
    """

    id: int = 0
    at: float
    subject: Subject
    kind: str
    text: str
    cause: str
    reason: str = ""
    process: str = ""


_SUBJECT = {"subject.kind": "subject"}
_EVENTS = Table("event", Event, renamed=_SUBJECT)
_NEW_EVENTS = Table("event", Event, renamed=_SUBJECT, without=("id",))


_SHARE = 10
_FORGET = "DELETE FROM event WHERE id <= (SELECT id FROM event ORDER BY id DESC LIMIT 1 OFFSET ?)"
_FORGET_OF_ONE = """
WITH many AS (SELECT subject, name FROM event GROUP BY subject, name HAVING count(*) > ?)
DELETE FROM event WHERE id IN (
    SELECT id FROM (
        SELECT id, row_number() OVER (PARTITION BY subject, name ORDER BY id DESC) AS age
        FROM event WHERE (subject, name) IN many
    ) WHERE age > ?
)"""


class Journal:
    """Appends events to the state database, keeps the newest `keep`, and calls `followers` with each.

    Of one subject, it keeps a tenth as many: one that fails without a pause displaces nothing of the others.

    `redact` returns a text about a subject without secrets.
    """

    def __init__(
        self, database: Database, *, keep: int = 20_000, redact: Callable[[Subject, str], str] = lambda _, text: text
    ) -> None:
        self._database = database
        self._keep = keep
        self._redact = redact
        self._written = count()
        self._problem = ""
        self.followers: list[Callable[[Event], None]] = []

    def write(  # noqa: PLR0913  what an event says
        self, subject: Subject, kind: EventKind, text: str, cause: str = "", reason: str = "", *, process: str = ""
    ) -> None:
        """Append an event and show it to followers, even if the database cannot be written to now.

        Raises sqlite3.Error unless the database defers writes.
        """
        self._append(subject, kind, text, cause, reason, process)
        self._tell_problem()

    def redacted(self, subject: Subject, text: str) -> str:
        """Return a text about a subject without secrets, as it can be stored and sent."""
        return encodable(self._redact(subject, text))

    @property
    def problem(self) -> str:
        """Why the database cannot be written to now, empty if it can."""
        return self._problem

    @property
    def owes(self) -> bool:
        """Whether something is to be written, or told, that could not be when it happened."""
        return self._database.owes or bool(self._database.problem) != bool(self._problem)

    def on_owed(self, call: Callable[[], None]) -> None:
        """Call this from now on whenever something could not be written."""
        self._database.on_owed = call

    def catch_up(self) -> None:
        """Write the events that were deferred."""
        self._database.flush()
        self._tell_problem()

    def _append(  # noqa: PLR0913, PLR0917  what an event says
        self, subject: Subject, kind: EventKind, text: str, cause: str = "", reason: str = "", process: str = ""
    ) -> None:
        at = time.time()  # noqa: TID251  shown to people, never subtracted
        text, cause = self.redacted(subject, text), self.redacted(subject, cause)
        event = Event(at=at, subject=subject, kind=kind, text=text, cause=cause, reason=str(reason), process=process)
        number = self._database.write(("event", next(self._written)), *_NEW_EVENTS.put(event))
        if number and number % 500 == 0:
            most = max(1, self._keep // _SHARE)
            self._database.write(("events of one",), _FORGET_OF_ONE, (most, most))
            self._database.write(("events",), _FORGET, (self._keep,))
        for follower in self.followers:
            follower(replace(event, id=number))

    def _tell_problem(self) -> None:
        """Report once that the database cannot be written to, and once that it can be again."""
        problem = self._database.problem
        if bool(problem) == bool(self._problem):
            return
        self._problem = problem
        if problem:
            stays = "apps keep running; events are written once the database can be"
            self._append(HOST, "daemon", f"cannot write to the state database: {problem}", stays)
        else:
            self._append(HOST, "daemon", "the state database can be written to again")

    def newest(
        self,
        subjects: Subject | Sequence[Subject] | None,
        count: int,
        after: int = 0,
        *,
        since: float = 0.0,
        kinds: Sequence[str] = (),
    ) -> Sequence[Event]:
        """Return the newest events with an id over `after`, of these subjects or of all, in order.

        The names of subjects may be patterns of fnmatch. `since` is wall-clock seconds; without `kinds`, of every kind.
        """
        wanted = (subjects,) if isinstance(subjects, Subject) else subjects
        chosen = "1" if wanted is None else " OR ".join(map(_condition, wanted)) or "0"
        values = [value for each in wanted or () for value in (each.kind, each.name.replace("[!", "[^"))]
        found = _EVENTS.rows(
            self._database,
            f"WHERE ({chosen}) AND id > ? AND at >= ? AND (? = '' OR instr(?, ',' || kind || ','))"
            " ORDER BY id DESC LIMIT ?",
            (*values, after, since, *(f",{','.join(kinds)}," if kinds else "",) * 2, count),
        )
        return found[::-1]


def _condition(subject: Subject) -> str:
    """Return the condition on a subject, with marks for its kind and its name; SQLite's GLOB writes `[^` for `[!`."""
    return f"subject = ? AND name {'GLOB' if is_pattern(subject.name) else '='} ?"


def as_line(event: Event) -> str:
    """Return the event as a line for people, in local time; a text that only repeats the kind is left out."""
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at))
    why = f" ({event.cause})" if event.cause else ""
    text = "" if event.text == event.kind else event.text
    return f"{at}  {event.subject!s:<20} {event.kind:<9} {text}{why}".rstrip()


def as_record(event: Event) -> dict[str, int | float | str]:
    """Return the event as data for programs."""
    return {
        "id": event.id,
        "at": event.at,
        "app": event.subject.name if event.subject.kind == "app" else "",
        "service": event.subject.name if event.subject.kind == "service" else "",
        "origin": event.subject.name if event.subject.kind == "origin" else "",
        "process": event.process,
        "kind": event.kind,
        "reason": event.reason,
        "text": event.text,
        "cause": event.cause,
    }
