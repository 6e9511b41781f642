"""Check what the kernel and the host allow for keeping apps apart: control groups."""

from collections.abc import Iterator

from reconciler.inspection.checks.check import Check
from reconciler.isolation.cells import places_of
from reconciler.planning.isolation.layout import NOT_DELEGATED, layout
from reconciler.settings.settings import Settings

_ENDS = "a process that detaches itself from its app ends with it"
_MARKED = "a process that detaches itself from its app and clears its environment outlives it"


def control_groups(settings: Settings) -> Iterator[Check]:
    """Check in which control groups the running daemon can hold apps; this process's, while none is running."""
    from reconciler.state.lock import holder

    pid = holder(settings.paths)
    places, systemd = places_of("self" if pid is None else pid)
    chosen = layout(places, systemd=systemd)
    of = "" if pid is not None else ", as far as a daemon started here is concerned"
    if chosen.ending is None:
        advice = f"until then, {_MARKED}"
        if chosen.lacks == NOT_DELEGATED:
            advice = f"install the service with 'reconciler install', or set Delegate=yes in its unit; {advice}"
        yield Check(
            level="warn", subject="control groups", found=f"none can be used: {chosen.lacks}{of}", advice=advice
        )
        return
    version = f"version {chosen.ending.version}"
    lacks = f"; {chosen.lacks}" if chosen.lacks else ""
    yield Check(level="ok", subject="control groups", found=f"{version}: {_ENDS}{lacks}{of}")
