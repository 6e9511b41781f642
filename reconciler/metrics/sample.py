"""Sample what the apps of a host have done and what they use, from the state directory and the process table.

Every seat measures memory and processor time here, so that all show the same numbers.
"""

import contextlib
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from reconciler.inspection.snapshot import HostSnapshot
from reconciler.linux import process_table
from reconciler.serving import gate_figures_reader
from reconciler.serving.gate_figures_reader import Figures
from reconciler.state.paths import StatePaths

_PSS_PROCESSES = 100  # reading the proportional share of more processes than these takes too long
_PSS_FRESH_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSample:
    """One app: its requests, bytes of memory, and the processor seconds of each running instance, by id."""

    figures: Figures
    memory: int = 0
    cpu: Mapping[str, float] = field(default_factory=dict)


class MemoryMeter:
    """Measures the memory of processes: their proportional share (PSS), or their own pages where there are too many.

    Reading PSS is expensive, so each reading is used again for `_PSS_FRESH_S`.
    """

    def __init__(self) -> None:
        self._measured: dict[int, tuple[float, int]] = {}

    def measure(self, pids: Collection[int], now: float) -> Mapping[int, int]:
        """Return the bytes of each process at `now`, in monotonic seconds; 0 for one that has exited."""
        if len(pids) > _PSS_PROCESSES:
            return {pid: process_table.own(pid) for pid in pids}
        fresh = {pid: known for pid, known in self._measured.items() if pid in pids and now - known[0] <= _PSS_FRESH_S}
        due = (pid for pid in pids if pid not in fresh)
        self._measured = fresh | {pid: (now, process_table.proportional(pid) or process_table.own(pid)) for pid in due}
        return {pid: size for pid, (_, size) in self._measured.items()}


class Sampler:
    """Samples the apps of one host again and again."""

    def __init__(self, paths: StatePaths) -> None:
        self._paths = paths
        self._memory = MemoryMeter()

    def sample(self) -> dict[str, AppSample]:
        """Sample every app with any residue on this host; raises sqlite3.Error. Blocks."""
        with contextlib.closing(HostSnapshot(self._paths)) as snapshot:
            return self.sample_of(snapshot, snapshot.names)

    def sample_running(self) -> dict[str, AppSample]:
        """Sample every app with a running instance; raises sqlite3.Error. Blocks."""
        with contextlib.closing(HostSnapshot(self._paths)) as snapshot:
            return self.sample_of(snapshot, snapshot.instances)

    def sample_of(self, snapshot: HostSnapshot, names: Collection[str]) -> dict[str, AppSample]:
        """Sample some apps of an open snapshot. Blocks."""
        masters = {
            name: {record.id: record.pid for record in snapshot.instances.get(name, []) if record.pid} for name in names
        }
        families = {
            name: [pid for master in ids.values() for pid, _ in process_table.family(master)]
            for name, ids in masters.items()
        }
        memory = self._memory.measure({pid for family in families.values() for pid in family}, time.monotonic())
        return {
            name: AppSample(
                figures=gate_figures_reader.of_app(self._paths.readiness(name)),
                memory=sum(memory[pid] for pid in families[name]),
                cpu={instance: process_table.seconds_of(master) for instance, master in ids.items()},
            )
            for name, ids in sorted(masters.items())
        }
