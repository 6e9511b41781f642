"""The values that planning decides: a plan, and the part that all its actions have in common."""

from dataclasses import field
from typing import Generic, TypeVar

from reconciler.linux.dataclass import dataclass
from reconciler.planning.reason import Reason
from reconciler.planning.states import State


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedAction:
    """Something to do, and why. An action compares by what it does: its cause and its reason make no difference."""

    cause: str = field(compare=False)
    reason: Reason = field(default=Reason.NONE, compare=False)

    @property
    def attempt(self) -> int:
        """How often it will have failed in a row if it fails now; 0 for an action that is not counted."""
        return 0

    @property
    def counted_as(self) -> object:
        """What failures in a row are counted of: two actions that differ only in what woke them are the same."""
        return self


ActionT = TypeVar("ActionT", bound=PlannedAction)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Generic[ActionT]):
    """The actions to take, in order, and how to report the app or the service until they are done.

    `immediate` actions are done beside whatever else is being done: they take no time and cannot fail. `wanted` is the
    id of the revision that should run, None while it cannot be known. `recheck_at` is when time alone could change the
    plan, monotonic seconds; `retry_at` is when what failed is tried again, None if it is not by itself. `settled` means
    that everything is as desired; `failures` counts how often the desired revision failed in a row, which is tried
    again only after an edit or a request if it is `withheld`. `reportable` means that something is left although its
    manifest was removed.
    """

    actions: tuple[ActionT, ...]
    state: State
    reason: Reason = Reason.NONE
    message: str = ""
    immediate: tuple[ActionT, ...] = ()
    wanted: str | None = None
    recheck_at: float | None = None
    retry_at: float | None = None
    settled: bool = False
    failures: int = 0
    withheld: bool = False
    reportable: bool = False

    @property
    def first(self) -> ActionT | None:
        """The action to do now, None when nothing is left."""
        return self.actions[0] if self.actions else None
