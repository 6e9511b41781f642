"""Prepare an app in this process, which then becomes one of its programs."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from reconciler.convergence.world import Report
from reconciler.daemon.foreground.foreground_daemon import ForegroundDaemon
from reconciler.daemon.foreground.preparing import NotPrepared, Watcher
from reconciler.daemon.foreground.wanted import Wanted
from reconciler.daemon.process import built
from reconciler.serving.live_instance import CannotStart
from reconciler.settings.settings import Settings
from reconciler.staging.errors import StagingError

Made = TypeVar("Made")


async def prepare(
    settings: Settings,
    wanted: Wanted,
    told: Callable[[Report], None],
    timeout_s: float,
    then: Callable[[ForegroundDaemon], Made],
) -> Made:
    """Prepare an app, and return what `then` makes of it. `told` gets each report on the app.

    Raises NotPrepared, AlreadyRunning, OSError. Nothing that runs in the state directory is touched.
    """
    async with built(settings, ForegroundDaemon) as (daemon, _, ending):
        watcher = Watcher(wanted.app, told, lambda: not daemon.outcomes.is_being_read(wanted.app))
        daemon.reports.listeners.append(watcher.tell)
        daemon.prepare_only(wanted)
        await daemon.once()
        daemon.require_runnable(wanted)
        ready, ended = asyncio.create_task(watcher.ready()), asyncio.create_task(ending.wait())
        try:
            await asyncio.wait((ready, ended), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                raise NotPrepared("it was told to end before it was ready")
            if not ready.done():
                raise NotPrepared(f"it is not ready after {timeout_s:g} s: {watcher.waits_for}")
            await ready
            return then(daemon)
        except (CannotStart, StagingError) as error:
            raise NotPrepared(str(error)) from error
        finally:
            for task in (ready, ended):
                task.cancel()
