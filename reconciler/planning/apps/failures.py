"""What it means that an instance died or is ill: whom to blame, and how long to wait before the next start."""

import zlib

from reconciler.planning.apps.actions import Blame, Bury
from reconciler.planning.apps.observed import Instance, Observed, Trouble
from reconciler.planning.desired import App, CrashPolicy


def crash_delay_s(policy: CrashPolicy, count: int, name: str) -> float:
    """Seconds between the last of `count` failures and the next start: none the first time, then doubling to a cap.

    The jitter, 25% either way, is drawn from the name and the count: apps that died together come back apart, and
    planning stays a function.
    """
    if count <= 1:
        return 0.0
    doubled = min(policy.cap_s, policy.first_s * 2.0 ** min(count - 2, 32))
    noise = zlib.crc32(f"{name}:{count}".encode()) / 0xFFFFFFFF
    return doubled * (0.75 + 0.5 * noise)


def bury(app: App | None, observed: Observed, now: float) -> tuple[Bury, ...]:
    """Clear away each instance that is gone; `app` is None where nothing is to be remembered of it."""
    gone = [i for i in observed.instances if i.end is not None]
    return tuple(
        Bury(
            instance=i.id,
            trouble=None if app is None else _after_death(app, observed, i, now),
            cause=f"gunicorn {i.pid} {i.end}",
        )
        for i in gone
    )


def blame(app: App, observed: Observed, now: float) -> tuple[Blame, ...]:
    """What to remember of instances that are ill while on probation; of each once."""
    return tuple(
        Blame(instance=i.id, trouble=_trouble(app, observed, i, now, reason), cause=reason)
        for i in observed.alive
        if i.serves and is_ill(i, observed) and not has_proven(i.revision, observed) and not _is_blamed(i, observed)
        for reason in (i.unwell or f"a worker of gunicorn {i.pid} died on probation",)
    )


def _after_death(app: App, observed: Observed, gone: Instance, now: float) -> Trouble | None:
    """What to remember of an instance that died; None when it was told to."""
    if gone.stopping_since is not None:
        return None
    return _trouble(app, observed, gone, now, f"gunicorn {gone.pid} {gone.end}")


def _trouble(app: App, observed: Observed, instance: Instance, now: float, reason: str) -> Trouble:
    """One failure more of its revision, unless it served well for long enough."""
    served_s = 0.0 if instance.ready_at is None else now - instance.ready_at
    before = observed.trouble_of(instance.revision)
    earlier = before.count if before is not None and served_s < app.crash.good_run_s else 0
    proven = has_proven(instance.revision, observed) or (instance.ready and served_s >= app.probation_s)
    return Trouble(
        revision=instance.revision,
        kind="crashed" if proven else "bad",
        count=earlier + 1,
        last_at=now,
        reason=reason,
    )


def is_ill(instance: Instance, observed: Observed) -> bool:
    """True when it does not answer as it must, or a worker of it died before its revision had proven itself."""
    return instance.unwell is not None or (instance.fallen > 0 and not has_proven(instance.revision, observed))


def _is_blamed(instance: Instance, observed: Observed) -> bool:
    trouble = observed.trouble_of(instance.revision)
    return trouble is not None and instance.ready_at is not None and trouble.last_at >= instance.ready_at


def has_proven(revision: str, observed: Observed) -> bool:
    """True when the revision once got through its probation."""
    return any(p.id == revision for p in observed.proven)
