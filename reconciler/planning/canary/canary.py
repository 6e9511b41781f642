"""The canary that a manifest asks for, and the division of one address while a canary is under way."""

from dataclasses import field
from math import ceil
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.address import Address
from reconciler.planning.canary.judgement import Trial
from reconciler.planning.canary.weights import WHOLE, By

Undecided: TypeAlias = Literal["go_on", "wait"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """How a new revision is tried before it serves every client.

    `share` is its part of new connections in each step, in thousandths; each step takes `for_s`. It must have answered
    so many `requests` in one; without that it goes on `undecided`, or waits. `worse` is the smallest odds that matter
    of a request that fails or is slow. `workers` is how many it runs while it is small, None for what its share takes.
    """

    share: tuple[int, ...]
    for_s: float = 600.0
    by: By = "connection"
    requests: int = 100
    undecided: Undecided = "go_on"
    worse: int = 2
    workers: int | None = None

    def workers_at(self, weight: int, workers: int) -> int:
        """Return how many workers a part of the connections takes, of so many for all."""
        return max(1, min(workers, self.workers or ceil(workers * weight / WHOLE)))

    def weight(self, step: int) -> int:
        """Return the weight in a step: of the last one, if the manifest has fewer by now."""
        return self.share[min(step, len(self.share) - 1)]


def after_failing(probation_s: float) -> Canary:
    """Return how a revision is tried again that has failed clients, where its manifest has no canary."""
    return Canary(share=(50,), for_s=probation_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One address with two listeners: the second is a `revision`'s, which gets a `weight` of new connections.

    It has had that weight since then (monotonic seconds), in a `step` of the canary; -1 before the first. `by` says
    what is divided. `promoted`
    says that an operator asked for all to come to it, `harm` why it is to go. `trial` is what is known of it.
    """

    address: Address
    revision: str
    weight: int = 0
    step: int = -1
    since: float = 0.0
    by: By = "connection"
    promoted: bool = False
    harm: str = ""
    trial: Trial = field(default_factory=Trial)

    @property
    def has_clients(self) -> bool:
        """Whether the second listener gets connections, or got some."""
        return self.step >= 0

    def is_tried(self, revision: str) -> bool:
        """Return whether a revision has the second listener, and not yet every connection."""
        return self.revision == revision and self.weight < WHOLE
