"""What convergence needs of a World: to observe and plan by name, to carry out an action, and to take a report.

Nothing here knows an app or a service: a name, a plan and a report are all that convergence handles.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

# What is asked of a name: an app, a service; convergence only hands it on.
Asked: TypeAlias = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What to tell an operator about an app or a service.

    `next_try_at` is monotonic seconds, None when nothing is being retried; `failures` counts the tries that failed in
    a row, the last of them just now when `failed_now`; `settled` means that nothing is left to do.
    """

    state: str
    message: str = ""
    wanted: str | None = None
    next_try_at: float | None = None
    failures: int = 0
    failed_now: bool = False
    settled: bool = False


class Action(Protocol):
    """Something that can be done; compares by what it does."""

    @property
    def cause(self) -> str:
        """Why, in an operator's words."""
        ...

    @property
    def attempt(self) -> int:
        """How often it will have failed if it fails now; 0 when its World does not count that."""
        ...


class Plan(Protocol):
    """What to do, in order; what to call it meanwhile; and when time alone could change the answer."""

    @property
    def actions(self) -> Sequence[Action]:
        """One after the other."""
        ...

    @property
    def immediate(self) -> Sequence[Action]:
        """Done beside whatever else is being done: it takes no time and cannot fail."""
        ...

    @property
    def first(self) -> Action | None:
        """The action to do now, None when nothing is left."""
        ...

    @property
    def state(self) -> str:
        """What to call it."""
        ...

    @property
    def message(self) -> str:
        """Why, for an operator."""
        ...

    @property
    def wanted(self) -> str | None:
        """The id of what should be."""
        ...

    @property
    def recheck_at(self) -> float | None:
        """Monotonic seconds."""
        ...

    @property
    def settled(self) -> bool:
        """True when nothing is left to do."""
        ...

    @property
    def reportable(self) -> bool:
        """True when something stays that nobody asks for, which is worth telling."""
        ...

    @property
    def failures(self) -> int:
        """How often what is wanted failed in a row."""
        ...


class World(Protocol):
    """What convergence sees and touches. Names are all it needs to know of what is there."""

    def now(self) -> float:
        """Monotonic seconds, the same clock as the event loop's."""
        ...

    def plan(self, name: str, asked: Asked | None) -> Plan:
        """The difference between what is asked and what is true right now; cheap, and without an effect.

        The same object as before says that nothing the plan is made from has changed.
        """
        ...

    def when_failing(self, name: str) -> str:
        """What to call it while its next action keeps failing."""
        ...

    async def do(self, name: str, action: Any) -> None:
        """Carry out one action; raises when it cannot. May be cancelled at any await."""
        ...

    def report(self, name: str, report: Report) -> None:
        """Tell whoever watches how it stands."""
        ...
