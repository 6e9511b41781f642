"""Plans for many names, each made anew only when what it is made from has changed, or the time may have changed it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """A plan that says when time alone could change it."""

    @property
    def recheck_at(self) -> float | None:
        """Monotonic seconds, None for never."""
        ...


AskedT = TypeVar("AskedT")
SeenT = TypeVar("SeenT")
PlanT = TypeVar("PlanT", bound=Timed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made(Generic[AskedT, SeenT, PlanT]):
    asked: AskedT
    seen: SeenT
    plan: PlanT


class Planner(Generic[AskedT, SeenT, PlanT]):
    """Has `make` plan, and remembers the last plan of every name that is asked for.

    That very object is the plan as long as nothing has changed. `make` is given what is asked, None for nothing, what
    is seen, and monotonic seconds.
    """

    def __init__(self, make: Callable[[AskedT | None, SeenT, float], PlanT]) -> None:
        self._make = make
        self._last: dict[str, _Made[AskedT, SeenT, PlanT]] = {}

    def plan(self, name: str, asked: AskedT | None, seen: SeenT, now: float) -> PlanT:
        """The plan of one name."""
        last = self._last.get(name)
        if last is not None and last.asked is asked and _is_before(now, last.plan) and last.seen == seen:
            return last.plan
        made = self._make(asked, seen, now)
        if asked is None:
            self._last.pop(name, None)
        else:
            self._last[name] = _Made(asked=asked, seen=seen, plan=made)
        return made


def _is_before(now: float, made: Timed) -> bool:
    return made.recheck_at is None or now < made.recheck_at
