"""List the workers of an app's instances: how old each is, what it uses, and what it has answered."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from reconciler.inspection.snapshot import HostSnapshot
from reconciler.linux import process_table
from reconciler.linux.processes import start_ticks
from reconciler.serving import gate_figures_reader
from reconciler.state.records import InstanceRecord

_MOST = 64  # reading the proportional share of more processes than these takes too long


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A process that answers requests: seconds since it started, bytes of memory, requests answered and in flight.

    `master` is the pid of its instance, which serves `revision` and is `stopping` while it finishes its requests.
    """

    pid: int
    master: int
    revision: str
    stopping: bool
    age_s: float
    memory: int
    requests: int
    in_flight: int


def workers(snapshot: HostSnapshot, app: str) -> tuple[Worker, ...]:
    """Return the workers of an app that are alive, those of the oldest instance first. Blocks for a moment."""
    found = (worker for record in snapshot.instances.get(app, []) for worker in _of_instance(snapshot, record))
    return tuple(islice(found, _MOST))


def _of_instance(snapshot: HostSnapshot, record: InstanceRecord) -> Iterator[Worker]:
    if record.pid is None:
        return
    passed = snapshot.paths.readiness(record.app) / record.id
    up_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    for pid in process_table.children(record.pid):
        ticks = start_ticks(pid)
        if ticks is None:
            continue
        figures = gate_figures_reader.of_worker(passed / str(pid))
        yield Worker(
            pid=pid,
            master=record.pid,
            revision=record.revision,
            stopping=record.stopping_since is not None,
            age_s=max(0.0, up_s - ticks / process_table.TICKS),
            memory=process_table.proportional(pid) or process_table.own(pid),
            requests=figures.requests,
            in_flight=figures.in_flight,
        )
