"""The current load of each running app, and how it developed over the last minutes."""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import field

from reconciler.inspection.snapshot import HostSnapshot
from reconciler.linux.dataclass import dataclass
from reconciler.metrics.rates import Rates
from reconciler.metrics.sample import AppSample, Sampler
from reconciler.state.paths import StatePaths

_REMEMBERED = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One running app: bytes of memory, cores of CPU, requests per second; earlier values oldest first.

    `cpu` and `requests` are None at the first sample, which has none before it to compare with. `queue` are connections
    that no worker has accepted yet, `wait_s` is how long requests waited for a worker; None where that is not known.
    """

    memory: int
    cpu: float | None
    requests: float | None
    memory_history: tuple[int, ...]
    cpu_history: tuple[float, ...]
    queue: int | None = None
    wait_s: float | None = None


@dataclass(slots=True, kw_only=True)
class _History:
    memory: deque[int] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    cpu: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))


class Loads:
    """Measures running apps whenever asked, and remembers the last measurements."""

    def __init__(self, paths: StatePaths) -> None:
        self._sampler = Sampler(paths)
        self._rates = Rates()
        self._history: dict[str, _History] = {}

    def measure(self, snapshot: HostSnapshot) -> dict[str, Load]:
        """Return the load of each app with a running instance. Blocks."""
        return self.follow(self._sampler.sample_of(snapshot, snapshot.instances), time.monotonic())

    def follow(self, samples: Mapping[str, AppSample], at: float) -> dict[str, Load]:
        """Return the load of each app in the newest samples, taken `at` monotonic seconds."""
        rates = self._rates.follow(samples, at)
        self._history = {name: self._history.get(name) or _History() for name in samples}
        found: dict[str, Load] = {}
        for name, history in self._history.items():
            rate = rates.get(name)
            history.memory.append(samples[name].memory)
            if rate is not None:
                history.cpu.append(rate.cpu)
            found[name] = Load(
                memory=samples[name].memory,
                cpu=None if rate is None else rate.cpu,
                requests=None if rate is None else rate.requests,
                memory_history=tuple(history.memory),
                cpu_history=tuple(history.cpu),
                queue=None if (queue := samples[name].queue) is None else queue.length,
                wait_s=None if rate is None else rate.wait_s,
            )
        return found
