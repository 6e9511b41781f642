"""List the processes of each running instance: its master, its workers and what they started, with their load."""

import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal, TypeAlias

from reconciler.inspection.snapshot import HostSnapshot
from reconciler.linux import process_table
from reconciler.linux.dataclass import dataclass
from reconciler.linux.process_identity import owner_of
from reconciler.metrics.sample import MemoryMeter
from reconciler.serving import gate_figures_reader
from reconciler.serving.gate_figures_reader import WorkerFigures
from reconciler.state.records import InstanceRecord

Role: TypeAlias = Literal["master", "worker", "process", "child"]
Activity: TypeAlias = Literal["starting", "idle", "busy", "unknown"]
Phase: TypeAlias = Literal["starting", "serving", "stopping"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceProcess:
    """One process: its age in seconds, its memory in bytes, as `top` measures it, and the `name` of its program.

    `activity` is what a worker does: it is starting until it has passed its gate, then idle for `idle_s` seconds or
    busy with `in_flight` requests. These, and the `requests` it has answered, are None where nothing counts them.
    """

    pid: int
    role: Role
    name: str
    age_s: float
    memory: int
    requests: int | None = None
    in_flight: int | None = None
    activity: Activity | None = None
    idle_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningInstance:
    """An instance, with its master first, then its workers, then what they started.

    `process` is the name and the number of one that is not web: `worker.1`. `user` is the number of the user that its
    master runs as, None if that is gone.
    """

    id: str
    app: str
    revision: str
    phase: Phase
    processes: tuple[InstanceProcess, ...]
    process: str = ""
    user: int | None = None


def running_instances(snapshot: HostSnapshot, apps: Collection[str]) -> list[RunningInstance]:
    """Return the running instances of these apps, by app, oldest first. Blocks."""
    found = [
        record
        for name in sorted(apps)
        for record in (*snapshot.instances.get(name, []), *snapshot.processes.get(name, []))
    ]
    families = {record.id: dict(process_table.family(record.pid)) for record in found if record.pid}
    every = {pid: ticks for family in families.values() for pid, ticks in family.items()}
    memory = MemoryMeter().measure(every, time.monotonic())
    return [
        RunningInstance(
            id=record.id,
            app=record.app,
            process=f"{record.process}.{record.slot}" if record.process else "",
            revision=record.revision,
            phase=_phase(record),
            processes=tuple(_processes(snapshot, record, families[record.id], memory)),
            user=owner_of(record.pid or 0),
        )
        for record in found
        if record.id in families
    ]


def _phase(record: InstanceRecord) -> Phase:
    if record.stopping_since is not None:
        return "stopping"
    return "starting" if record.ready_at is None else "serving"


def _processes(
    snapshot: HostSnapshot, record: InstanceRecord, family: Collection[int], memory: Mapping[int, int]
) -> Iterator[InstanceProcess]:
    assert record.pid is not None
    workers = gate_figures_reader.of_workers(snapshot.paths.readiness(record.app) / record.id)
    direct = process_table.children(record.pid)
    order = sorted(family, key=lambda pid: (pid != record.pid, pid not in direct, pid))
    for pid in order:
        age_s = process_table.age_s(pid)
        if age_s is None:
            continue
        role: Role = "master" if pid == record.pid else "worker" if pid in direct else "child"
        if record.process:
            role = "process" if pid == record.pid else "child"
        load = _load(pid, workers) if role == "worker" else {}
        name = process_table.name_of(pid)
        yield InstanceProcess(pid=pid, role=role, name=name, age_s=age_s, memory=memory.get(pid, 0), **load)


def _load(pid: int, workers: Mapping[int, WorkerFigures | None]) -> dict[str, Any]:
    if pid not in workers:
        return {"activity": "starting"}
    figures = workers[pid]
    if figures is None:
        return {"activity": "unknown"}
    busy = figures.in_flight > 0
    return {
        "requests": figures.requests,
        "in_flight": figures.in_flight,
        "activity": "busy" if busy else "idle",
        "idle_s": None if busy else max(0.0, time.monotonic() - figures.ended),
    }
