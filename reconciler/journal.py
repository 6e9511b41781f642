"""What happened to each app, lately and durably: events in, the newest of them out, the oldest forgotten."""

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal[
    "daemon", "manifest", "source", "staging", "staged", "releasing", "released", "started", "ready", "died", "adopted",
    "stopped", "failed", "listening", "removed", "holding", "asleep", "wish", "unwell", "well",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened. `at` is wall-clock seconds; `app` is empty for what concerns the host."""

    id: int
    at: float
    app: str
    kind: str
    text: str
    cause: str


class Journal:
    """Appends events to the state database, keeps the newest `keep`, and shows each to whoever follows."""

    def __init__(self, database: sqlite3.Connection, *, keep: int = 20_000) -> None:
        self._database = database
        self._keep = keep
        self.followers: list[Callable[[Event], None]] = []

    def write(self, app: str, kind: Kind, text: str, cause: str = "") -> None:
        """Write down what happened; raises sqlite3.Error when the database cannot take it."""
        at = time.time()  # noqa: TID251  shown to people, never subtracted
        cursor = self._database.execute(
            "INSERT INTO event (at, app, kind, text, cause) VALUES (?, ?, ?, ?, ?)", (at, app, kind, text, cause)
        )
        number = cursor.lastrowid or 0
        if number % 500 == 0:
            self._database.execute("DELETE FROM event WHERE id <= ?", (number - self._keep,))
        event = Event(id=number, at=at, app=app, kind=kind, text=text, cause=cause)
        for follower in self.followers:
            follower(event)

    def newest(self, app: str | None, count: int, after: int = 0) -> Sequence[Event]:
        """The newest events with an id over `after`, of one app or of all, oldest of them first."""
        rows = self._database.execute(
            "SELECT id, at, app, kind, text, cause FROM event WHERE id > ?1 AND (?2 IS NULL OR app = ?2)"
            " ORDER BY id DESC LIMIT ?3",
            (after, app, count),
        ).fetchall()
        return [
            Event(id=row[0], at=row[1], app=row[2], kind=row[3], text=row[4], cause=row[5]) for row in reversed(rows)
        ]

    def deaths(self) -> dict[str, int]:
        """How often an instance of each app died on its own."""
        return dict(self._database.execute("SELECT app, count(*) FROM event WHERE kind = 'died' GROUP BY app"))


def as_line(event: Event) -> str:
    """One line for a person: local time, app, kind, what, why."""
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at))
    why = f" ({event.cause})" if event.cause else ""
    return f"{at}  {event.app or '-':<20} {event.kind:<9} {event.text}{why}"


def as_record(event: Event) -> dict[str, int | float | str]:
    """The same for a machine."""
    return {
        "id": event.id,
        "at": event.at,
        "app": event.app,
        "kind": event.kind,
        "text": event.text,
        "cause": event.cause,
    }
