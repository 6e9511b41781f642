"""What it means that an instance died or is ill: whom to blame, and how long to wait before the next start."""

import zlib

from reconciler.planning.apps.actions import Reap, RecordFailure
from reconciler.planning.apps.observed import Failure, Instance, Observed
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


def reap(app: App | None, observed: Observed, now: float) -> tuple[Reap, ...]:
    """Clear away each instance that is gone; `app` is None where nothing is to be remembered of it."""
    gone = [i for i in observed.instances if i.end is not None]
    return tuple(
        Reap(
            instance=i.id,
            failure=None if app is None else _after_death(app, observed, i, now),
            cause=f"gunicorn {i.pid} {i.end}",
        )
        for i in gone
    )


def record_failures(app: App, observed: Observed, now: float) -> tuple[RecordFailure, ...]:
    """What to remember of instances that are ill while on probation; of each once."""
    return tuple(
        RecordFailure(instance=i.id, failure=_failure(app, observed, i, now, reason), cause=reason)
        for i in observed.alive
        if i.serves
        and has_failed(i, observed)
        and not is_known_good(i.revision, observed)
        and not _is_blamed(i, observed)
        for reason in (i.unhealthy or f"a worker of gunicorn {i.pid} died on probation",)
    )


def _after_death(app: App, observed: Observed, gone: Instance, now: float) -> Failure | None:
    """What to remember of an instance that died; None when it was told to."""
    if gone.stopping_since is not None:
        return None
    return _failure(app, observed, gone, now, f"gunicorn {gone.pid} {gone.end}")


def _failure(app: App, observed: Observed, instance: Instance, now: float, reason: str) -> Failure:
    """One failure more of its revision, unless it served well for long enough."""
    served_s = 0.0 if instance.ready_at is None else now - instance.ready_at
    before = observed.failure_of(instance.revision)
    earlier = before.count if before is not None and served_s < app.crash.good_run_s else 0
    known_good = is_known_good(instance.revision, observed) or (instance.ready and served_s >= app.probation_s)
    return Failure(
        revision=instance.revision,
        kind="crashed" if known_good else "rejected",
        count=earlier + 1,
        last_at=now,
        reason=reason,
    )


def has_failed(instance: Instance, observed: Observed) -> bool:
    """True when it does not answer as it must, or a worker of it died before its revision had proven itself."""
    return instance.unhealthy is not None or (
        instance.workers_died > 0 and not is_known_good(instance.revision, observed)
    )


def _is_blamed(instance: Instance, observed: Observed) -> bool:
    trouble = observed.failure_of(instance.revision)
    return trouble is not None and instance.ready_at is not None and trouble.last_at >= instance.ready_at


def is_known_good(revision: str, observed: Observed) -> bool:
    """True when the revision once got through its probation."""
    return any(p.id == revision for p in observed.known_good)
