"""The rows of an app's workers on its page: what each has done and what it does now, in the words of `ps`."""

from collections.abc import Sequence

from reconciler.linux.dataclass import dataclass
from reconciler.metrics.instance_processes import InstanceProcess, RunningInstance

_MOST = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """One worker: its age in seconds, its memory in bytes, the requests it has answered, None where nothing counts."""

    pid: int
    master: int
    age_s: float
    memory: int
    requests: int | None
    activity: str


def worker_rows(instances: Sequence[RunningInstance]) -> list[WorkerRow]:
    """Return the rows of the workers of an app's instances, as many as a page has room for."""
    return [
        WorkerRow(
            pid=process.pid,
            master=instance.processes[0].pid,
            age_s=process.age_s,
            memory=process.memory,
            requests=process.requests,
            activity=_activity(instance, process),
        )
        for instance in instances
        for process in instance.processes
        if process.role == "worker"
    ][:_MOST]


def _activity(instance: RunningInstance, worker: InstanceProcess) -> str:
    if worker.activity == "busy":
        return f"answering {worker.in_flight}"
    if instance.phase == "stopping":
        return "finishing its requests"
    return worker.activity or "unknown"
