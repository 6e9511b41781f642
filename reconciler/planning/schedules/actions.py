"""The actions on the schedules of an app, each with its cause, and what is worth telling of them.

Each action compares by what it does. Those of a plan that record something come before those that start or stop a
task, and are recorded in one transaction: a daemon that is killed leaves either nothing of them or what the next plan
goes on from, and no occurrence begins an attempt twice.
"""

from typing import TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.plan import PlannedAction
from reconciler.planning.schedules.history import History
from reconciler.planning.schedules.observed import Occurrence


@dataclass(frozen=True, slots=True, kw_only=True)
class Remember(PlannedAction):
    """Record the history of a schedule in place of the one that is recorded."""

    schedule: str
    history: History


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget(PlannedAction):
    """Remove the history of a schedule that is no longer desired."""

    schedule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Owe(PlannedAction):
    """Record an occurrence as owed, unless a record of it exists; `made_up` if it makes up for a missed one."""

    occurrence: Occurrence
    made_up: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(PlannedAction):
    """Record an attempt of an owed or failed occurrence as running, then begin it; the first attempt is 1."""

    occurrence: Occurrence
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip(PlannedAction):
    """Record that an occurrence does not run."""

    occurrence: Occurrence


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss(PlannedAction):
    """Tell that the times of `count` occurrences, from `first` to `last`, passed; `made_up` of them still run."""

    schedule: str
    id: str
    count: int
    first: int
    last: int
    made_up: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(PlannedAction):
    """Stop the task of an occurrence; it counts as failed and is not retried."""

    occurrence: Occurrence


@dataclass(frozen=True, slots=True, kw_only=True)
class Bury(PlannedAction):
    """Record an attempt that has no process as failed."""

    occurrence: Occurrence
    number: int


Action: TypeAlias = Remember | Forget | Owe | Start | Skip | Miss | Stop | Bury


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """An occurrence has not started within five minutes of its time."""

    occurrence: Occurrence


@dataclass(frozen=True, slots=True, kw_only=True)
class TooLong:
    """An occurrence has been running for much longer than the last ones, whose median took `usual_s` seconds."""

    occurrence: Occurrence
    usual_s: float


Note: TypeAlias = Late | TooLong
