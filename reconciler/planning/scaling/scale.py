"""Decide how many workers an app is to have, by the rule that docs/explanation/scaling.md explains.

Up at once, as far as what comes and waits needs it. Where nothing shows yet how long a request takes, at most twice as
many until those are ready, but for an app that has just woken up. Down one by one, once fewer have been enough for a
while and nothing waits.
"""

from reconciler.linux.dataclass import dataclass
from reconciler.planning.scaling.load import RECENT_S, STEADY_S, Load
from reconciler.planning.scaling.worker_range import WorkerRange
from reconciler.planning.wording import counted, shortly, span

DOWN_EVERY_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """So many workers, and why. `asked` is how many the load asks for now, whatever the range and the host allow."""

    workers: int
    cause: str = ""
    asked: int = 0


def scale(asked: WorkerRange, load: Load, now: float) -> Decision:
    """Return how many workers an app is to have now, in monotonic seconds: as many as it has while that is right."""
    has = load.look.workers
    need, hurry = load.need(asked), load.hurry()
    wanted = max(need, hurry)
    if has < asked.least:
        return Decision(workers=asked.least, cause=f"at least {counted(asked.least, 'worker')}", asked=wanted)
    if has > asked.most:
        return Decision(workers=asked.most, cause=f"at most {counted(asked.most, 'worker')}", asked=wanted)
    up = asked.within(wanted)
    if up > has:
        base = load.base if load.is_growing else has
        if not load.is_new:
            up = min(up, max(2 * base, has, load.keeps_up()))
        cause = _why_more(load, in_a_hurry=hurry > need)
        return Decision(workers=up, cause=cause if up > has else "", asked=wanted)
    if asked.within(max(wanted, load.highest)) < has and _is_calm(load, now):
        cause = f"{counted(max(load.highest, asked.least), 'worker')} were enough for {span(load.calm_s)}"
        return Decision(workers=has - 1, cause=cause, asked=wanted)
    return Decision(workers=has, asked=wanted)


def _is_calm(load: Load, now: float) -> bool:
    if load.look.queue or now < load.since + load.calm_s or now < load.raised_at + load.calm_s:
        return False
    return now >= load.lowered_at + DOWN_EVERY_S


def _why_more(load: Load, *, in_a_hurry: bool) -> str:
    look = load.look
    if look.cpu_s is not None:
        busy = f"{load.concurrency(RECENT_S if in_a_hurry else STEADY_S):.1f} cores used by {look.workers}"
    else:
        slots = look.workers * look.threads
        busy = f"{min(slots, load.concurrency(RECENT_S if in_a_hurry else STEADY_S)):.1f} of {slots} busy"
    if not in_a_hurry:
        return busy
    return f"requests wait {shortly(load.wait_s)} (queue {look.queue}), {busy}"
