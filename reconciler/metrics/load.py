"""What the instances of an app take of this host, from the process table: memory, processor, and both lately."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.linux.process_table import TICKS, family, own, proportional

_REMEMBERED = 60
_WEIGHED_AT_ONCE = 40
_WEIGHED_AGAIN_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """`memory` is bytes (shared pages counted in part), `cpu` the share of one core since the look before."""

    memory: int
    cpu: float | None
    memory_lately: tuple[int, ...]
    cpu_lately: tuple[float, ...]


@dataclass(slots=True, kw_only=True)
class _Kept:
    at: float = 0.0
    ticks: dict[int, int] = field(default_factory=dict)
    memory: deque[int] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    cpu: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))


class Loads:
    """Looks at processes when asked, and remembers the last looks."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._weighed: dict[int, tuple[float, int]] = {}

    def look(self, masters: Mapping[str, Sequence[int]]) -> dict[str, Load]:
        """The load of each app with a master that runs; `masters` are the pids of its instances."""
        now = time.monotonic()
        families = {
            name: {pid: ticks for master in pids for pid, ticks in family(master)} for name, pids in masters.items()
        }
        alive = {pid for family in families.values() for pid in family}
        self._weighed = {pid: known for pid, known in self._weighed.items() if pid in alive}
        self._weigh(alive, now)
        self._kept = {name: self._kept.get(name) or _Kept() for name, family in families.items() if family}
        return {name: self._load(kept, families[name], now) for name, kept in self._kept.items()}

    def _load(self, kept: _Kept, family: dict[int, int], now: float) -> Load:
        known = [ticks - kept.ticks[pid] for pid, ticks in family.items() if pid in kept.ticks]
        cpu = sum(known) / TICKS / (now - kept.at) if known and now > kept.at else None
        memory = sum(self._weighed[pid][1] for pid in family if pid in self._weighed)
        kept.at, kept.ticks = now, family
        kept.memory.append(memory)
        if cpu is not None:
            kept.cpu.append(cpu)
        return Load(memory=memory, cpu=cpu, memory_lately=tuple(kept.memory), cpu_lately=tuple(kept.cpu))

    def _weigh(self, alive: set[int], now: float) -> None:
        """Weighing is dear: the ones longest not weighed, so many at a time; an estimate for the new ones."""
        due = sorted((self._weighed.get(pid, (-1e9, 0))[0], pid) for pid in alive)
        for at, pid in due[:_WEIGHED_AT_ONCE]:
            if now - at > _WEIGHED_AGAIN_S:
                self._weighed[pid] = (now, proportional(pid) or own(pid))
        for _, pid in due[_WEIGHED_AT_ONCE:]:
            if pid not in self._weighed:
                self._weighed[pid] = (-1e9, own(pid))
