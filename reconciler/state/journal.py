"""What happened to each app, lately and durably: events in, the newest of them out, the oldest forgotten."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Literal, TypeAlias, get_args

from reconciler.planning.subject import HOST, Subject
from reconciler.state.database import Database
from reconciler.state.table import Table

# Stable: schemas/event.schema.json lists the same for whoever reads them.
EventKind: TypeAlias = Literal[
    "daemon", "manifest", "source", "staging", "staged", "releasing", "released", "started", "ready", "exited",
    "adopted", "stopped", "failed", "listening", "removed", "holding", "sleeping", "request", "unhealthy", "healthy",
    "provisioned", "bound", "unbound", "backup", "secrets",
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(EventKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to a subject. `at` is wall-clock seconds; programs read `kind` and `reason`.

    `id` is 0 as long as it is not written down.
    """

    id: int = 0
    at: float
    subject: Subject
    kind: str
    text: str
    cause: str
    reason: str = ""


_SUBJECT = {"subject.kind": "subject"}
_EVENTS = Table("event", Event, renamed=_SUBJECT)
_NEW_EVENTS = Table("event", Event, renamed=_SUBJECT, without=("id",))


class Journal:
    """Appends events to the state database, keeps the newest `keep`, and shows each to whoever follows."""

    def __init__(self, database: Database, *, keep: int = 20_000) -> None:
        self._database = database
        self._keep = keep
        self._written = count()
        self._trouble = ""
        self.followers: list[Callable[[Event], None]] = []

    def write(self, subject: Subject, kind: EventKind, text: str, cause: str = "", reason: str = "") -> None:
        """Write down what happened, and show it whether or not the database can take it now.

        Raises sqlite3.Error where nothing can be owed.
        """
        self._append(subject, kind, text, cause, reason)
        self._tell_trouble()

    @property
    def trouble(self) -> str:
        """Why nothing can be written down just now, empty when it can."""
        return self._trouble

    def catch_up(self) -> None:
        """Write what is owed, if anything is."""
        self._database.flush()
        self._tell_trouble()

    def _append(self, subject: Subject, kind: EventKind, text: str, cause: str = "", reason: str = "") -> None:
        at = time.time()  # noqa: TID251  shown to people, never subtracted
        event = Event(at=at, subject=subject, kind=kind, text=text, cause=cause, reason=str(reason))
        number = self._database.write(("event", next(self._written)), *_NEW_EVENTS.put(event))
        if number and number % 500 == 0:
            self._database.write(("events",), "DELETE FROM event WHERE id <= ?", (number - self._keep,))
        for follower in self.followers:
            follower(replace(event, id=number))

    def _tell_trouble(self) -> None:
        """Say once that nothing can be written down, and once that it can be again."""
        trouble = self._database.trouble
        if bool(trouble) == bool(self._trouble):
            return
        self._trouble = trouble
        if trouble:
            stays = "the apps go on; what happens is written down as soon as it can be"
            self._append(HOST, "daemon", f"cannot write to the state database: {trouble}", stays)
        else:
            self._append(HOST, "daemon", "the state database is written to again")

    def newest(
        self, subject: Subject | None, count: int, after: int = 0, *, since: float = 0.0, kinds: Sequence[str] = ()
    ) -> Sequence[Event]:
        """The newest events with an id over `after`, of one subject or of all, oldest of them first.

        `since` is wall-clock seconds; without `kinds`, of every kind.
        """
        found = _EVENTS.rows(
            self._database,
            "WHERE id > ?1 AND (?2 IS NULL OR (subject = ?2 AND name = ?3)) AND at >= ?4"
            " AND (?5 = '' OR instr(?5, ',' || kind || ',')) ORDER BY id DESC LIMIT ?6",
            (
                after, subject and subject.kind, subject and subject.name, since,
                f",{','.join(kinds)}," if kinds else "", count,
            ),
        )  # fmt: skip
        return found[::-1]

    def deaths(self) -> dict[str, int]:
        """How often an instance of each app died on its own."""
        return dict(
            self._database.execute(
                "SELECT name, count(*) FROM event WHERE kind = 'exited' AND subject = 'app' GROUP BY name"
            )
        )


def as_line(event: Event) -> str:
    """One line for a person: local time, app, kind, what, why."""
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at))
    why = f" ({event.cause})" if event.cause else ""
    return f"{at}  {event.subject!s:<20} {event.kind:<9} {event.text}{why}"


def as_record(event: Event) -> dict[str, int | float | str]:
    """The same for a machine."""
    return {
        "id": event.id,
        "at": event.at,
        "app": event.subject.name if event.subject.kind == "app" else "",
        "service": event.subject.name if event.subject.kind == "service" else "",
        "kind": event.kind,
        "reason": event.reason,
        "text": event.text,
        "cause": event.cause,
    }
