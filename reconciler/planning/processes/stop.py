"""The way to stop a process: what it is told, one step after the other, until all of it is killed."""

from itertools import accumulate, pairwise

from reconciler.linux.dataclass import dataclass

# What may be sent to a process: that of the end comes by itself, and the others would not end it.
STOP_SIGNALS = ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2")
_MOST_STEPS = 8
_LONGEST_S = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class StopStep:
    """A signal to the leader, and how long to wait for its end after it; in seconds."""

    signal: str
    wait_s: float


@dataclass(frozen=True, slots=True)
class StopSequence:
    """The signals that a process gets, each once and to its leader only; when the last wait is over, all is killed.

    `str()`: `TERM 900 QUIT 10`, which `parsed` reads.
    """

    steps: tuple[StopStep, ...]

    def __str__(self) -> str:
        return " ".join(f"{step.signal} {step.wait_s:g}" for step in self.steps)

    @property
    def kill_after_s(self) -> float:
        """How long after its first signal it is killed."""
        return sum(step.wait_s for step in self.steps)

    def due_after_s(self, taken: int) -> float:
        """Return how long after the first signal the next step is due, of which so many were taken."""
        return [0.0, *accumulate(step.wait_s for step in self.steps)][min(taken, len(self.steps))]

    def next_signal(self, taken: int) -> str | None:
        """Return the signal of the next step, None when only the kill is left."""
        return self.steps[taken].signal if taken < len(self.steps) else None


def one_signal(wait_s: float, signal: str = "TERM") -> StopSequence:
    """Return the sequence of one signal and patience."""
    return StopSequence((StopStep(signal, wait_s),))


def parsed(text: str) -> StopSequence | None:
    """Return the sequence that `str()` gave a text of, None for any other text."""
    words = text.split(" ")
    pairs = [pair for index, pair in enumerate(pairwise(words)) if index % 2 == 0]
    if len(words) % 2 or not 0 < len(pairs) <= _MOST_STEPS:
        return None
    try:
        steps = tuple(StopStep(signal, float(wait)) for signal, wait in pairs)
    except ValueError:
        return None
    if all(step.signal in STOP_SIGNALS and 0 <= step.wait_s <= _LONGEST_S for step in steps):
        return StopSequence(steps)
    return None
