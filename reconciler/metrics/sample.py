"""What the apps of a host have done and take right now, from the state directory and the process table."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.inspection.snapshot import HostSnapshot
from reconciler.linux import process_table
from reconciler.serving import request_counters
from reconciler.serving.request_counters import Figures
from reconciler.state.paths import StatePaths

_WEIGHED_WELL = 100  # of more processes than these, weighing each with what it shares takes too long


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSample:
    """One app: its requests, bytes of memory, and the processor seconds of each running instance, by id."""

    figures: Figures
    memory: int = 0
    cpu: Mapping[str, float] = field(default_factory=dict)


def of_host(paths: StatePaths) -> dict[str, AppSample]:
    """Every app of which anything is left here; raises sqlite3.Error. Blocks."""
    with contextlib.closing(HostSnapshot(paths)) as snapshot:
        masters = {
            name: {record.id: record.pid for record in snapshot.instances.get(name, []) if record.pid}
            for name in snapshot.names
        }
    families = {
        name: [pid for master in ids.values() for pid, _ in process_table.family(master)]
        for name, ids in masters.items()
    }
    well = sum(map(len, families.values())) <= _WEIGHED_WELL
    return {
        name: AppSample(
            figures=request_counters.of_app(paths.readiness(name)),
            memory=sum((well and process_table.proportional(pid)) or process_table.own(pid) for pid in families[name]),
            cpu={instance: process_table.seconds_of(master) for instance, master in ids.items()},
        )
        for name, ids in sorted(masters.items())
    }
