"""Cache plans by name: a plan is made again only when its input has changed, or time may have changed it."""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from reconciler.linux.dataclass import dataclass


class Timed(Protocol):
    """A plan that knows when time alone could change it."""

    @property
    def recheck_at(self) -> float | None:
        """When that is, monotonic seconds; None for never."""
        ...


DesiredT = TypeVar("DesiredT")
ObservedT = TypeVar("ObservedT")
PlanT = TypeVar("PlanT", bound=Timed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made(Generic[DesiredT, ObservedT, PlanT]):
    desired: DesiredT
    observed: ObservedT
    plan: PlanT


class Planner(Generic[DesiredT, ObservedT, PlanT]):
    """Plans with `make`, and caches the last plan of every name that is desired.

    As long as nothing has changed, the very same object is returned. `make` takes what is desired, None for nothing,
    what is observed, and monotonic seconds.
    """

    def __init__(self, make: Callable[[DesiredT | None, ObservedT, float], PlanT]) -> None:
        self._make = make
        self._last: dict[str, _Made[DesiredT, ObservedT, PlanT]] = {}

    def plan(self, name: str, desired: DesiredT | None, observed: ObservedT, now: float) -> PlanT:
        """Return the plan of one name."""
        last = self._last.get(name)
        if last is not None and last.desired is desired and _holds(last.plan, now) and last.observed == observed:
            return last.plan
        made = self._make(desired, observed, now)
        if desired is None:
            self._last.pop(name, None)
        else:
            self._last[name] = _Made(desired=desired, observed=observed, plan=made)
        return made


def _holds(made: Timed, now: float) -> bool:
    return made.recheck_at is None or now < made.recheck_at
