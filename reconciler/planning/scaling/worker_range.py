"""The range in which the number of an app's workers is chosen by need, and what its manifest says about the choice."""

from reconciler.linux.dataclass import dataclass

BUSY_OF_WORKERS, BUSY_OF_LOOPS = 0.7, 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRange:
    """Between `least` and `most` workers.

    `busy` is the share of their time that they are to work on average, None for the default of their class. A request
    may wait `queue_s` before more are started; fewer must have been enough for `calm_s` before one goes. `spare` idle
    ones are kept on top of what is needed.
    """

    least: int
    most: int
    busy: float | None = None
    queue_s: float = 0.05
    calm_s: float = 300.0
    spare: int = 0

    def within(self, workers: int) -> int:
        """Return the number in the range that is nearest to this one."""
        return max(self.least, min(self.most, workers))

    def __str__(self) -> str:
        return f"{self.least}\u2013{self.most}"
