"""Choose how many workers an app is to have now: as its manifest or an operator says, or as its load asks for."""

from collections.abc import Sequence
from dataclasses import replace

from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import HeldWorkers, Instance, Observed
from reconciler.planning.reason import Cause, Reason
from reconciler.planning.wording import counted, span


def workers_in_words(workers: int, worker_range: Sequence[int] | None) -> str:
    """Return the workers that a manifest asks for: `4`, or `1-8` for a range."""
    return str(workers) if worker_range is None else f"{worker_range[0]}-{worker_range[1]}"


def asked_workers(app: App) -> str:
    """Return the workers that the manifest of an app asks for, as `workers_in_words` does."""
    asked = app.worker_range
    return workers_in_words(app.workers, None if asked is None else (asked.least, asked.most))


def held_workers(app: App, held: HeldWorkers | None, now: float) -> int | None:
    """Return the number that an operator asked for while that holds, None otherwise; `now` is monotonic seconds."""
    return held.workers if held is not None and held.holds_for == asked_workers(app) and _lasts(held, now) else None


def without_superseded(app: App, observed: Observed) -> Observed:
    """Return what is observed without the number that an operator asked for of a manifest that said something else."""
    held = observed.held_workers
    return observed if held is None or held.holds_for == asked_workers(app) else replace(observed, held_workers=None)


def scaled(app: App, observed: Observed, now: float) -> App:
    """Return the app with the number of workers that it is to have now, monotonic seconds.

    Without a decision about one with a range, as when the daemon has just started, that of what serves stays. One that
    wakes gets as many as the connections at its listener ask for.
    """
    held = held_workers(app, observed.held_workers, now)
    if held is not None:
        return app.with_workers(held)
    if app.worker_range is None:
        return app
    decided = _decided(app, observed)
    if not observed.serves and observed.scaling is not None and observed.scaling.at_door:
        return app.with_workers(app.worker_range.within(max(decided, observed.scaling.at_door)))
    present = max((instance.workers for instance in observed.serving), default=app.workers)
    return app.with_workers(app.worker_range.within(decided or present))


def _decided(app: App, observed: Observed) -> int:
    """Return the number that was decided since the app last slept, 0 for none: its load was another one before."""
    state, woken_at = observed.scaling, observed.sleep_state.activated_at
    if state is None or state.decision is None:
        return 0
    is_of_before = app.may_sleep and woken_at is not None and state.decided_at < woken_at
    return 0 if is_of_before else state.decision.workers


# What follows is about an app as `scaled` returns it, and what `without_superseded` leaves.


def until_scaled(observed: Observed, now: float, recheck_at: float | None) -> float | None:
    """Return when time alone changes a plan: at the end of what an operator asked for, or at `recheck_at` before."""
    held = observed.held_workers
    if held is None or held.until is None or not _lasts(held, now):
        return recheck_at
    return held.until if recheck_at is None else min(recheck_at, held.until)


def why_scaled(app: App, instance: Instance, observed: Observed, now: float) -> str:
    """Return why a running instance is to have as many workers as the app, in an operator's words."""
    held = observed.held_workers
    if held is not None and _lasts(held, now):
        return _in_words(held)
    if held is not None and held.for_s is not None and instance.workers == held.workers:
        return f"the {span(held.for_s)} for which an operator asked for {counted(held.workers, 'worker')} are over"
    decision = None if observed.scaling is None or app.worker_range is None else observed.scaling.decision
    if decision is not None and decision.cause:
        return decision.cause
    return f"{counted(app.workers, 'worker')} desired, {instance.workers} running"


def told_of_workers(app: App, observed: Observed, now: float) -> Cause | None:
    """Return what is to be told of the number of workers: that it is too low, and why, or that an operator chose it."""
    if app.worker_range is not None and observed.scaling is not None and observed.scaling.saturated:
        return Cause(Reason.SATURATED, f"saturated: {observed.scaling.saturated}")
    held = observed.held_workers
    if held is None or not _lasts(held, now):
        return None
    return Cause(Reason.SCALED_BY_OPERATOR, f"{_in_words(held)}; its manifest says {held.holds_for}")


def _lasts(held: HeldWorkers, now: float) -> bool:
    return held.until is None or now < held.until


def _in_words(held: HeldWorkers) -> str:
    """Return what an operator asked for: `6 workers for 2h, as an operator asked`."""
    duration = "" if held.for_s is None else f" for {span(held.for_s)}"
    return f"{counted(held.workers, 'worker')}{duration}, as an operator asked"
