"""Change the number of a running gunicorn's workers by SIGTTIN and SIGTTOU, without a hand-over.

The number is read from the master before every signal, and signals are sent one at a time, so that whatever interrupts
this the next call converges. A signal whose effect was not awaited may still have it afterwards, which the instance's
record follows. No worker is dismissed while one of those that remain has yet to pass its gate.
"""

import asyncio
import signal
import time
from collections.abc import Callable

from reconciler.serving.live_instance import CannotScale, LiveInstance

WITHIN_S = 60.0
_EFFECT_S = 20.0  # gunicorn loses no signal; one that is sent again while it is held up takes effect twice
_LOOK_S = 0.25


async def scale(live: LiveInstance, workers: int) -> None:
    """Have so many workers, each past its gate. Raises CannotScale if that takes longer than WITHIN_S."""
    if live.own_program():
        raise CannotScale("its program decides how many processes it has, and can be given no number of workers")
    try:
        async with asyncio.timeout(WITHIN_S):
            while live.runs and not await _is_reached(live, workers):
                pass
    except TimeoutError:
        live.update_from_workers()
        reason = live.note or f"{live.workers_ready()} of its workers are ready"
        raise CannotScale(f"it did not have {workers} ready workers within {WITHIN_S:g} s: {reason}") from None
    if not live.runs:
        raise CannotScale(f"it ended, or was stopped, before it had {workers} ready workers")


async def _is_reached(live: LiveInstance, workers: int) -> bool:
    """Take one step towards the number; True once there is none left."""
    count, has = live.workers_set, live.workers_set()
    if has is None:
        count, has = live.workers_alive, await _counted(live)
    if has is None:
        return False
    if has < workers:
        await _signal(live, signal.SIGTTIN, count, has)
    elif live.workers_ready() < has:
        await live.change(_LOOK_S)
    elif has > workers:
        await _signal(live, signal.SIGTTOU, count, has)
    else:
        return True
    return False


async def _signal(live: LiveInstance, number: signal.Signals, count: Callable[[], int | None], before: int) -> None:
    """Send one signal and wait for its effect on what `count` returns; without one the next step sends it again."""
    assert live.process is not None
    live.process.signal(number)
    until = time.monotonic() + _EFFECT_S
    while live.runs and time.monotonic() < until:
        if count() not in {before, None}:
            return
        await live.change(_LOOK_S)


async def _counted(live: LiveInstance) -> int | None:
    """Count the workers of a master that does not say how many it keeps: started by a daemon before it could be asked.

    None while the number changes, as a worker that exited just now is being replaced, and of a master that says it
    after all.
    """
    before = live.workers_alive()
    await live.change(_LOOK_S)
    return before if live.workers_alive() == before and live.workers_set() is None else None
