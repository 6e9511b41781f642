"""The interface of a World: what convergence plans with, acts through and reports to.

Nothing here knows an app or a service: a name, a plan and a report are all that convergence handles.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeAlias

from reconciler.linux.dataclass import dataclass

# The desired state of a name: an app, a service. Convergence only passes it on.
Asked: TypeAlias = Any

# Reasons that convergence itself gives; a plan brings its own.
ACTION_FAILED: Final = "action-failed"
NO_EFFECT: Final = "no-effect"
INTERNAL_ERROR: Final = "internal-error"
NO_FILES_LEFT: Final = "no-files-left"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The state of an app or a service, for operators; `reason` is for programs, which never read the message.

    `next_try_at` is monotonic seconds, None when nothing is retried; `failures` counts the attempts that failed in a
    row, the last of them just now when `failed_now`, and nothing but an edit or a request ends a failure that is
    `withheld`; `settled` means that nothing is left to do. `phase` is the message of long work without the time it has
    taken, so it changes only when the work does.
    """

    state: str
    reason: str = ""
    message: str = ""
    wanted: str | None = None
    next_try_at: float | None = None
    failures: int = 0
    failed_now: bool = False
    withheld: bool = False
    settled: bool = False
    phase: str = ""


class Action(Protocol):
    """Something that can be done; compares by what it does."""

    @property
    def cause(self) -> str:
        """Why, in an operator's words."""
        ...

    @property
    def counted_as(self) -> object:
        """What failures in a row are counted of."""
        ...

    @property
    def attempt(self) -> int:
        """How often it will have failed if it fails now; 0 when its World does not count that."""
        ...


class Plan(Protocol):
    """The actions to take, in order, and what to report until they are done."""

    @property
    def actions(self) -> Sequence[Action]:
        """One after the other."""
        ...

    @property
    def immediate(self) -> Sequence[Action]:
        """Done beside whatever else is being done: they take no time and cannot fail."""
        ...

    @property
    def first(self) -> Action | None:
        """The action to do now, None when nothing is left."""
        ...

    @property
    def state(self) -> str:
        """The state to report."""
        ...

    @property
    def reason(self) -> str:
        """Why, for programs."""
        ...

    @property
    def message(self) -> str:
        """Why, for operators."""
        ...

    @property
    def wanted(self) -> str | None:
        """The id of what should run."""
        ...

    @property
    def recheck_at(self) -> float | None:
        """When time alone could change the plan, monotonic seconds."""
        ...

    @property
    def retry_at(self) -> float | None:
        """When what failed is tried again, monotonic seconds; None if it is not by itself."""
        ...

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do."""
        ...

    @property
    def reportable(self) -> bool:
        """Whether something worth reporting is left although nothing is desired."""
        ...

    @property
    def failures(self) -> int:
        """How often what is desired failed in a row."""
        ...

    @property
    def withheld(self) -> bool:
        """Whether what failed is tried again only after an edit or a request."""
        ...


class World(Protocol):
    """What convergence observes and changes, by name."""

    def now(self) -> float:
        """Return monotonic seconds, of the same clock as the event loop's."""
        ...

    def plan(self, name: str, asked: Asked | None) -> Plan:
        """Plan from what is desired and what is true right now; cheap, and without an effect.

        The same object as before means that nothing the plan is made from has changed.
        """
        ...

    def when_failing(self, name: str) -> str:
        """Return the state to report while the next action keeps failing."""
        ...

    async def do(self, name: str, action: Any) -> None:
        """Carry out one action; raises when it cannot. May be cancelled at any await."""
        ...

    def report(self, name: str, report: Report) -> None:
        """Publish the state of a name."""
        ...
