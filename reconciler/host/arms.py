"""Both arms of a canary: what each has answered since the last look, from the files that its workers write.

Health probes and what the daemon answers itself do not come from there. An app can write into these files: it is
trusted with its own judgement.
"""

from collections.abc import Iterable
from dataclasses import field

from reconciler.linux.dataclass import dataclass
from reconciler.linux.process_table import family, own
from reconciler.planning.canary.judgement import Counts, slow_bound
from reconciler.planning.isolation.limits import size
from reconciler.serving.gate_figures import BOUNDS_S
from reconciler.serving.gate_figures_reader import Figures, of_instance
from reconciler.serving.instances import Instances
from reconciler.serving.live_instance import LiveInstance

_MEMORY_TIMES = 2
_MEMORY_MORE = 64 * 1024 * 1024
_MEMORY_EVERY = 5  # looks
_MEMORY_IN_A_ROW = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What both arms have answered since the last look, the canary's workers, and why it is to go at once, if it is."""

    canary: Counts = field(default_factory=Counts)
    others: Counts = field(default_factory=Counts)
    workers: int = 1
    harm: str = ""


class Arms:
    """The instances of one app by their revision: the canary's, and all others."""

    def __init__(self, instances: Instances, name: str, revision: str) -> None:
        self._instances = instances
        self._name = name
        self._revision = revision
        self._before: dict[str, Figures] = {}
        self._looks = 0
        self._heavy = 0
        self._bound = self._bound_now()
        self.look()

    def look(self) -> Look:
        """Return what was answered since this was called before; nothing of an instance that is new."""
        bound = self._bound  # known before what it judges
        canary = self._answered(self._lives(canary=True), bound)
        others = self._answered(self._lives(canary=False), bound)
        self._bound = self._bound_now()
        self._looks += 1
        workers = sum(live.record.workers for live in self._lives(canary=True))
        return Look(canary=canary, others=others, workers=max(1, workers), harm=self._memory_harm())

    def _lives(self, *, canary: bool) -> list[LiveInstance]:
        lives = self._instances.lives(self._name)
        return [live for live in lives if (live.record.revision == self._revision) is canary]

    def _answered(self, lives: Iterable[LiveInstance], bound: int | None) -> Counts:
        total = Counts()
        for live in lives:
            now = of_instance(live.readiness)
            before = self._before.get(live.record.id, now)
            self._before[live.record.id] = now
            buckets = [max(0, b - a) for a, b in zip(before.buckets, now.buckets, strict=True)]
            answered = sum(buckets)
            failed = min(answered, max(0, now.classes[4] - before.classes[4]))
            slow = 0 if bound is None else sum(buckets[bound + 1 :])
            total += Counts(answered=answered, failed=failed, slow=slow)
        return total

    def _bound_now(self) -> int | None:
        """Return what the release beside it keeps nearly always, by all that its workers have answered."""
        figures = sum((of_instance(live.readiness) for live in self._lives(canary=False)), Figures())
        return slow_bound(figures.buckets, BOUNDS_S)

    def _memory_harm(self) -> str:
        """Say that each worker takes much more memory than those of the release beside it, which has served longer."""
        if self._looks % _MEMORY_EVERY:
            return ""
        mine, theirs = _memory(self._lives(canary=True)), _memory(self._lives(canary=False))
        is_heavy = theirs > 0 and mine > _MEMORY_TIMES * theirs and mine > theirs + _MEMORY_MORE
        self._heavy = self._heavy + 1 if is_heavy else 0
        if self._heavy < _MEMORY_IN_A_ROW:
            return ""
        return f"each worker takes {size(mine)} of memory, those of the other release {size(theirs)}"


def _memory(lives: Iterable[LiveInstance]) -> int:
    """Return bytes for each worker."""
    used = workers = 0
    for live in lives:
        if live.process is not None and live.end is None:
            used += sum(own(pid) for pid, _ in family(live.process.pid))
            workers += max(1, live.record.workers)
    return used // workers if workers else 0
