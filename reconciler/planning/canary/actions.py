"""The actions of a canary: a second listener at the address of an app, its weight, and one listener again."""

from dataclasses import field
from typing import TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.address import Address
from reconciler.planning.canary.weights import WHOLE, By, percent
from reconciler.planning.plan import PlannedAction


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginCanary(PlannedAction):
    """Open a second listener at an address, for a revision; it gets no connection yet."""

    address: Address
    revision: str

    def __str__(self) -> str:
        return f"open a second listener on {self.address} for revision {self.revision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeighCanary(PlannedAction):
    """Give the second listener so many thousandths of new connections; a step of it begins then."""

    revision: str
    weight: int
    step: int
    by: By = field(default="connection", compare=False)

    def __str__(self) -> str:
        part = "every new connection" if self.weight == WHOLE else f"{percent(self.weight / WHOLE)} of new connections"
        return f"give revision {self.revision} {part if self.weight else 'no new connection'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndCanary(PlannedAction):
    """Close one of two listeners, once what waits at it was passed on to the other: the first if `promoted`."""

    address: Address
    promoted: bool

    def __str__(self) -> str:
        return f"close the {'first' if self.promoted else 'second'} of two listeners on {self.address}"


CanaryAction: TypeAlias = BeginCanary | WeighCanary | EndCanary
