"""The schedules of one app as they are found: what is recorded of their occurrences, and of the app."""

from collections.abc import Mapping
from dataclasses import field
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import AskedState
from reconciler.planning.schedules.history import History

RecordState: TypeAlias = Literal["owed", "running", "lost", "succeeded", "failed", "skipped", "missed"]


@dataclass(frozen=True, slots=True, order=True)
class Occurrence:
    """One occurrence of a schedule, by its name, its id and the instant at which it is planned: its unique key."""

    schedule: str
    id: str
    planned_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is recorded of an occurrence: `owed` before its first attempt begins, then `running` with that attempt.

    `lost` is one that is recorded as running and has no process. Instants are seconds since 1970, `started_monotonic`
    seconds of the monotonic clock, None if the host was booted since. `made_up` is one that makes up for a missed
    one, `triggered` one that an operator asked for out of turn. One that an operator or a newer one ended is not
    `retriable`.
    """

    occurrence: Occurrence
    state: RecordState
    owed_at: float
    attempt: int = 0
    started_at: float | None = None
    started_monotonic: float | None = None
    ended_at: float | None = None
    made_up: bool = False
    triggered: bool = False
    retriable: bool = True

    @property
    def planned_at(self) -> int:
        """The instant at which it is planned."""
        return self.occurrence.planned_at

    def elapsed_s(self, now: float, monotonic: float) -> float | None:
        """Return the seconds since its last attempt began, None if it had none or the clock was set back since."""
        if self.started_monotonic is not None:
            return monotonic - self.started_monotonic
        if self.started_at is None or self.started_at > now:
            return None
        return now - self.started_at


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedSchedule:
    """What is recorded of one schedule by its name: its history, None at first, and its records, of former ids too.

    The records are every one that is owed, running or lost, and the newest of the others.
    """

    history: History | None = None
    records: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The schedules of an app by their names, and whether the app has a revision that could run them."""

    state: AskedState = "running"
    deployed: bool = True
    schedules: Mapping[str, ObservedSchedule] = field(default_factory=dict)
