"""Sample what the apps of a host have done and what they use, from the state directory and the process table.

Every seat measures memory and processor time here, so that all show the same numbers.
"""

import contextlib
import time
from collections.abc import Collection, Mapping
from dataclasses import field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reconciler.isolation.cells import cell_seen
from reconciler.isolation.limiting import memory_limit, pressure
from reconciler.linux import listen_queues, process_table
from reconciler.linux.dataclass import dataclass
from reconciler.linux.listen_queues import Queue
from reconciler.planning.address import Address
from reconciler.serving import gate_figures_reader
from reconciler.serving.gate_figures_reader import Figures
from reconciler.state.paths import StatePaths

if TYPE_CHECKING:
    from reconciler.inspection.snapshot import HostSnapshot

_PSS_PROCESSES = 100  # reading the proportional share of more processes than these takes too long
_PSS_FRESH_S = 20.0
_TICKS_AT_REST = 5  # gunicorn's own heart beat takes one in some minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSample:
    """One app: its requests, bytes of memory, and the processor seconds of each running instance, by id.

    Its processes beside the web count, too. `memory_limit` is what each instance of its web is held to, in bytes,
    None without a limit. `waited` are the seconds in which some process of an instance waited for a resource
    (`memory`, `cpu`, `io`), by instance and resource. `queue` are the connections that no worker has accepted yet,
    None where that is not known.
    """

    figures: Figures
    memory: int = 0
    cpu: Mapping[str, float] = field(default_factory=dict)
    memory_limit: int | None = None
    waited: Mapping[tuple[str, str], float] = field(default_factory=dict)
    queue: Queue | None = None


class MemoryMeter:
    """Measures the memory of processes: their proportional share (PSS), or their own pages where there are too many.

    Reading PSS is expensive, so each reading is used again for `_PSS_FRESH_S`; that of a process which has hardly run
    since, for `at_rest_s`.
    """

    def __init__(self, at_rest_s: float = 0.0) -> None:
        self._at_rest_s = at_rest_s
        self._measured: dict[int, _Reading] = {}

    def measure(self, processes: Mapping[int, int], now: float) -> Mapping[int, int]:
        """Return the bytes of each process at `now`, in monotonic seconds; 0 for one that has exited.

        `processes` are pids, each with the ticks of processor time that it has used.
        """
        if len(processes) > _PSS_PROCESSES:
            return {pid: process_table.own(pid) for pid in processes}
        known = {
            pid: reading
            for pid, ticks in processes.items()
            if (reading := self._measured.get(pid)) is not None and self._holds(reading, ticks, now)
        }
        shares = process_table.shares(processes.keys() - known.keys())
        self._measured = {
            pid: known.get(pid) or _Reading(now, ticks, shares.get(pid) or process_table.own(pid))
            for pid, ticks in processes.items()
        }
        return {pid: reading.size for pid, reading in self._measured.items()}

    def _holds(self, known: "_Reading", ticks: int, now: float) -> bool:
        rests = 0 <= ticks - known.ticks <= _TICKS_AT_REST
        return now - known.at <= (self._at_rest_s if rests and self._at_rest_s else _PSS_FRESH_S)


class _Reading(NamedTuple):
    """The memory of a process, in bytes, and when it was read: monotonic seconds, and ticks of its processor time."""

    at: float
    ticks: int
    size: int


class Sampler:
    """Samples the apps of one host again and again."""

    def __init__(self, paths: StatePaths, memory: MemoryMeter | None = None) -> None:
        self._paths = paths
        self._memory = memory or MemoryMeter()

    def sample(self) -> dict[str, AppSample]:
        """Sample every app with any residue on this host; raises sqlite3.Error. Blocks."""
        from reconciler.inspection.snapshot import HostSnapshot

        with contextlib.closing(HostSnapshot(self._paths)) as snapshot:
            return self.sample_of(snapshot, snapshot.names)

    def sample_loads(self, names: Collection[str]) -> dict[str, AppSample]:
        """Sample what those of these apps that have an instance have done and use, but neither limits nor queues.

        Raises sqlite3.Error. Blocks, for as short as can be.
        """
        from reconciler.inspection.snapshot import HostSnapshot

        with contextlib.closing(HostSnapshot(self._paths)) as snapshot:
            families = {
                name: {each.id: process_table.usage(each.pid) for each in found if each.pid}
                for name, found in snapshot.alive(names).items()
            }
        memory = self._memory_of(families)
        return {name: self._load(name, used, memory) for name, used in families.items()}

    def sample_of(self, snapshot: "HostSnapshot", names: Collection[str]) -> dict[str, AppSample]:
        """Sample some apps of an open snapshot. Blocks."""
        records = {name: (*snapshot.instances.get(name, []), *snapshot.processes.get(name, [])) for name in names}
        masters = {name: {each.id: each.pid for each in found if each.pid} for name, found in records.items()}
        webs = {name: {each.id for each in found if not each.process} for name, found in records.items()}
        families = {
            name: {instance: process_table.usage(master) for instance, master in ids.items()}
            for name, ids in masters.items()
        }
        memory = self._memory_of(families)
        cells = {
            name: {instance: cell_seen(name, instance, pid) for instance, pid in ids.items()}
            for name, ids in masters.items()
        }
        queues = queues_of({name: addresses_of(snapshot, name) for name in names})
        return {
            name: replace(
                self._load(name, used, memory),
                memory_limit=next(
                    filter(None, (memory_limit(c) for i, c in cells[name].items() if i in webs[name])), None
                ),
                waited={
                    (instance, resource): stall.seconds
                    for instance, cell in cells[name].items()
                    for resource, stall in pressure(cell).items()
                },
                queue=queues.get(name),
            )
            for name, used in sorted(families.items())
        }

    def _memory_of(self, families: Mapping[str, Mapping[str, process_table.Usage]]) -> Mapping[int, int]:
        every = {
            pid: ticks for used in families.values() for family in used.values() for pid, ticks in family.ticks.items()
        }
        return self._memory.measure(every, time.monotonic())

    def _load(self, name: str, used: Mapping[str, process_table.Usage], memory: Mapping[int, int]) -> AppSample:
        return AppSample(
            figures=gate_figures_reader.of_app(self._paths.readiness(name)),
            memory=sum(memory[pid] for pid in {pid for family in used.values() for pid in family.ticks}),
            cpu={instance: family.seconds for instance, family in used.items()},
        )


def addresses_of(snapshot: "HostSnapshot", app: str) -> frozenset[Address]:
    """Return where an app listens: where an instance of it does, else where its manifest says."""
    found = frozenset(address for record in snapshot.instances.get(app, ()) for address in record.addresses)
    if found:
        return found
    facts = snapshot.desired.get("apps", {}).get(app, {})
    return frozenset(chain.from_iterable(_address_of(str(facts.get(each) or "")) for each in ("url", "port_url")))


def _address_of(url: str) -> tuple[Address, ...]:
    """Return the address of which a URL was made, () of none."""
    if url.startswith("unix:"):
        return (Address(host=url.removeprefix("unix:")),)
    host, _, port = url.rpartition("//")[2].rstrip("/").rpartition(":")
    return (Address(host=host.strip("[]"), port=int(port)),) if port.isdecimal() else ()


def queues_of(apps: Mapping[str, Collection[Address]]) -> dict[str, Queue]:
    """Return the queue of each of these apps by where it listens, none where the kernel does not tell. Blocks."""
    queues = listen_queues.of_host() if any(apps.values()) else {}
    found = {}
    for app, addresses in apps.items():
        places = (
            listen_queues.place_of_path(Path(each.path)) if each.path else (each.ip, each.port) for each in addresses
        )
        every = [queues[place] for place in places if place is not None and place in queues]
        if every:
            found[app] = sum(every[1:], every[0])
    return found
