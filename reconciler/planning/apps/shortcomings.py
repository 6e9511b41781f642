"""Tell of an app that serves what is wrong about it all the same."""

from collections.abc import Iterator

from reconciler.planning.apps.assessment import Assessment
from reconciler.planning.apps.causes import cannot_stage
from reconciler.planning.apps.observed import Instance, Observed
from reconciler.planning.reason import Cause, Reason


def shortcoming(known: Assessment, current: Instance) -> Cause | None:
    """Return the gravest shortcoming of an app whose instance serves, None if nothing is wrong."""
    return next(_shortcomings(known, current), None)


def _shortcomings(known: Assessment, current: Instance) -> Iterator[Cause]:
    inputs = known.observed.inputs
    if current.note is not None:
        yield Cause(Reason.WORKER_WAITING, current.note)
    if current.exceeded:
        yield Cause(Reason.LIMIT_EXCEEDED, current.exceeded)
    if known.source.problem is not None:
        yield Cause(Reason.SOURCE_UNREADABLE, f"the last build serves, but {known.source.problem}")
    if known.source.busy is not None:
        yield Cause(Reason.SOURCE_BUSY, known.source.busy)
    if (failed := cannot_stage(known)) is not None:
        yield failed
    if inputs.stale:
        yield Cause(Reason.INPUTS_STALE, f"serving with the last known values: {'; '.join(inputs.stale)}")
    if inputs.down:
        yield Cause(Reason.SERVICE_DOWN, "; ".join(inputs.down))
    if known.observed.processes.ailing:
        yield Cause(Reason.PROCESS_AILING, "; ".join(known.observed.processes.ailing))
    if known.observed.unknown_dependencies:
        text = f"it depends on an app that is missing: {unknown_apps(known.observed)}"
        yield Cause(Reason.WAITING_FOR_APPS, text)


def unknown_apps(observed: Observed) -> str:
    """Return the apps that an app depends on and no manifest describes, "" without any."""
    return ", ".join(f"no app named '{name}'" for name in observed.unknown_dependencies)
