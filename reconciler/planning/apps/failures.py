"""Classify failures of instances, and compute the delay before the next start."""

import zlib
from typing import Literal

from reconciler.planning.apps.actions import Reap, RecordFailure
from reconciler.planning.apps.app import App, CrashPolicy
from reconciler.planning.apps.observed import Failure, FailurePhase, Instance, Observed, ProcessFailure
from reconciler.planning.apps.revision import Revision
from reconciler.planning.reason import Reason
from reconciler.planning.wording import quoted

_MANY = 40  # failures, after which the delay is the longest


def retry_delay_s(policy: CrashPolicy, failure: Failure, name: str, *, beside: bool) -> float:
    """Return the seconds between a failure and the next try; `beside` says that something else serves meanwhile.

    A crash is tried again at once, a rejection only if nothing serves; a build never is.
    """
    if failure.retry == "later":
        return crash_delay_s(policy, failure.count + _MANY, name)
    waits = failure.phase == "staging" or (failure.kind == "rejected" and beside)
    return crash_delay_s(policy, failure.count + waits, name)


def crash_delay_s(policy: CrashPolicy, count: int, name: str) -> float:
    """Return the seconds between the last of `count` failures and the next start: none, then doubling up to a cap.

    The jitter, 25% either way, depends on the name and the count: apps that failed together are started apart, and
    planning stays a function.
    """
    if count <= 1:
        return 0.0
    doubled = min(policy.cap_s, policy.first_s * 2.0 ** min(count - 2, 32))
    noise = zlib.crc32(f"{name}:{count}".encode()) / 0xFFFFFFFF
    return doubled * (0.75 + 0.5 * noise)


def reap(app: App | None, observed: Observed, now: float) -> tuple[Reap, ...]:
    """Clear away each instance that has exited; without an app, no failure is recorded."""
    exited = [i for i in observed.instances if i.end is not None]
    return tuple(
        Reap(
            instance=i.id,
            failure=None if app is None else _after_exit(app, observed, i, now),
            cause=_how_it_ended(i),
            reason=Reason.EXITED,
        )
        for i in exited
    )


def record_failures(app: App, observed: Observed, now: float) -> tuple[RecordFailure, ...]:
    """Record, once for each, the failures of instances that are alive and failed on probation."""
    return tuple(
        RecordFailure(
            instance=i.id,
            failure=_failure(app, observed, i, now, text),
            cause=text,
            reason=Reason.UNHEALTHY if i.unhealthy else Reason.ABORTED if _harm(i, observed) else Reason.WORKER_EXITED,
        )
        for i in observed.alive
        if (i.serves or _harm(i, observed))
        and has_failed(i, observed)
        and not is_known_good(i.revision, observed)
        and not _is_recorded(i, observed)
        for text in (i.unhealthy or _harm(i, observed) or _how_a_part_ended(i, observed),)
    )


def next_failure(
    revision: Revision, workers: int, observed: Observed, now: float, phase: FailurePhase = "starting"
) -> Failure:
    """Return the failure to record if this revision fails before it serves; its reason and time are filled in then."""
    before = observed.failure_of(revision.id, workers)
    count = before.count if before is not None else 0
    kind: Literal["crashed", "rejected"] = "crashed" if is_known_good(revision.id, observed) else "rejected"
    return Failure(
        revision=revision.id, kind=kind, count=count + 1, last_at=now, reason="", workers=workers, phase=phase
    )


def has_failed(instance: Instance, observed: Observed) -> bool:
    """Whether its probes fail, or a worker or a process of its revision ended before that was known good."""
    if instance.unhealthy is not None or _harm(instance, observed):
        return True
    on_probation = not is_known_good(instance.revision, observed)
    return on_probation and (instance.workers_died > 0 or failed_process(instance, observed) is not None)


def _harm(instance: Instance, observed: Observed) -> str:
    """Return why an instance is to go as a canary, "" if it is none, or not to go."""
    return observed.split.harm if observed.split is not None and observed.is_canary(instance.revision) else ""


def failed_process(instance: Instance, observed: Observed) -> ProcessFailure | None:
    """Return the failure of a process for which this instance's revision is left, None if nothing could serve instead.

    Without another revision to go back to, the web server is of use even if a process of it is not.
    """
    if not any(p.id != instance.revision and p.build.id in observed.builds for p in observed.known_good):
        return None
    started = instance.started_at
    failures = (f for f in observed.processes.failures if f.revision == instance.revision and f.at >= started)
    return next(failures, None)


def is_known_good(revision: str, observed: Observed) -> bool:
    """Whether the revision has passed its probation."""
    return any(p.id == revision for p in observed.known_good)


def _after_exit(app: App, observed: Observed, exited: Instance, now: float) -> Failure | None:
    """Return the failure of an instance that exited; None when it was told to stop."""
    if exited.stopping_since is not None:
        return None
    return _failure(app, observed, exited, now, _how_it_ended(exited))


def _how_it_ended(instance: Instance) -> str:
    return instance.failed_start or f"{instance.called} {instance.end}{quoted(instance.said)}"


def _how_a_part_ended(instance: Instance, observed: Observed) -> str:
    failed = failed_process(instance, observed)
    if failed is not None and not instance.workers_died:
        return failed.reason
    return f"a worker of {instance.called} {instance.worker_end or 'exited'} on probation{quoted(instance.said)}"


def _failure(app: App, observed: Observed, instance: Instance, now: float, reason: str) -> Failure:
    """Count one more failure of its revision; a good run before it resets the count."""
    served_s = 0.0 if instance.ready_at is None else now - instance.ready_at
    is_canary = observed.is_canary(instance.revision)  # which is on probation as long as it is one
    # Of a canary, as of an app with a range, the number of workers is no part of what failed.
    is_scaled = app.worker_range is not None or app.manifest_workers is not None
    workers = 0 if is_canary else app.workers_of_failures if is_scaled else instance.workers
    before = observed.failure_of(instance.revision, workers)
    earlier = before.count if before is not None and served_s < app.crash.good_run_s else 0
    is_over = served_s >= app.probation_s and now >= observed.processes.proven_at
    known_good = is_known_good(instance.revision, observed) or (instance.ready and is_over and not is_canary)
    return Failure(
        revision=instance.revision,
        kind="crashed" if known_good else "rejected",
        count=earlier + 1,
        last_at=now,
        reason=reason,
        workers=workers,
        phase="serving" if instance.ready or _harm(instance, observed) else "starting",
    )


def _is_recorded(instance: Instance, observed: Observed) -> bool:
    failure = observed.failure_of(instance.revision)
    since = instance.started_at if instance.ready_at is None else instance.ready_at
    return failure is not None and failure.last_at >= since
