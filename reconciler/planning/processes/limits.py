"""Plan what concerns the limits of a process: hold what runs to them, and tell of what is near one or beyond it."""

from collections.abc import Iterable, Iterator

from reconciler.planning.isolation.actions import ApplyLimits
from reconciler.planning.processes.observed import ObservedProcess, ProcessInstance
from reconciler.planning.processes.process import Process
from reconciler.planning.reason import Cause, Reason
from reconciler.planning.states import AppState


def other_limits(process: Process, observed: ObservedProcess) -> Iterator[ApplyLimits]:
    """Have an edit of the limits hold for what runs, and for what finishes its work."""
    for instance in observed.alive:
        if instance.limits != process.limits:
            cause = "its limits changed" if instance.limits is not None else "the daemon started"
            yield ApplyLimits(instance=instance.id, limits=process.limits, cause=cause, reason=Reason.LIMITS_CHANGED)


def outgrown(instances: Iterable[ProcessInstance], slot: int) -> Cause | None:
    """Return how near to its limit the instance of a slot is that another one is to replace for that."""
    near = next((i.outgrown for i in instances if i.slot == slot and i.outgrown), "")
    return Cause(Reason.LIMIT_NEAR, near) if near else None


def told(current: Iterable[ProcessInstance]) -> tuple[Cause, AppState] | None:
    """Return what is to be told of the limits of what runs, None if nothing is."""
    instances = tuple(current)
    exceeded = next((i.exceeded for i in instances if i.exceeded), "")
    if exceeded:
        return Cause(Reason.LIMIT_EXCEEDED, exceeded), "degraded"
    unenforced = next((i.unenforced for i in instances if i.unenforced), "")
    if unenforced:
        return Cause(Reason.LIMITS_WATCHED, unenforced), "running"
    lacks = next((i.lacks for i in instances if i.lacks), "")
    return (Cause(Reason.ISOLATION_INCOMPLETE, lacks), "running") if lacks else None
