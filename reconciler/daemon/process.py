"""Run a daemon in this process, until a signal or until everything is as desired once; the apps keep serving."""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from reconciler.convergence.backoff import Backoff
from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.convergence.ticks import next_tick
from reconciler.convergence.world import Report
from reconciler.daemon.daemon import Daemon
from reconciler.daemon.summary import HostSummary
from reconciler.isolation.app_counts import hold_counts
from reconciler.isolation.app_namespace import become_warded
from reconciler.isolation.app_users import app_users
from reconciler.linux.heap import share_one_heap
from reconciler.linux.loop_threads import LoopThreads
from reconciler.linux.open_files import allow_many_open_files
from reconciler.linux.processes import adopt_orphans, keep_descriptors
from reconciler.linux.systemd import ServiceManager
from reconciler.planning.subject import HOST, Subject
from reconciler.serving.forkserver.ahead import Begun
from reconciler.settings.settings import Settings
from reconciler.state.daemon_record import DaemonRecord, record
from reconciler.state.database import Database
from reconciler.state.lock import acquire
from reconciler.state.paths import StatePaths
from reconciler.state.records import Records
from reconciler.state.schema import open_or_rebuild

_STATUS_EVERY_S = 5.0


DaemonT = TypeVar("DaemonT", bound=Daemon)


class _Ended(Exception):
    """Raised inside the task group to end every task of it."""


def _tell_dropped(key: Hashable, error: Exception) -> None:
    """Tell of a row that the state database will never take, as of any other internal error."""
    table = key[0] if isinstance(key, tuple) else key
    message = f"cannot write a row of {table} to the state database"
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})


def _pythons(settings: Settings) -> Iterator[str | Path]:
    """Yield the interpreters that apps may have: those of this host, where they are searched, and of environments."""
    from reconciler.staging.detection.runtimes import programs_of, search_paths  # only a daemon with a warden asks

    yield from settings.paths.environments.glob("*/bin/python")
    yield from search_paths(settings.interpreters, os.environ)
    yield from programs_of(settings.interpreters)


@contextlib.contextmanager
def _opened(paths: StatePaths) -> Iterator[tuple[Database, bool]]:
    database, lost = open_or_rebuild(paths.database)
    with contextlib.closing(database):
        database.defer(_tell_dropped)
        yield database, lost


def _only(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one error of a group, so that a caller can tell it from others; the group, if there are more."""
    (first, *more) = errors.exceptions
    if more:
        return errors
    return _only(first) if isinstance(first, BaseExceptionGroup) else first


@contextlib.asynccontextmanager
async def built(
    settings: Settings, kind: type[DaemonT], *, to_the_end: bool = False
) -> AsyncIterator[tuple[DaemonT, StandingTasks, asyncio.Event]]:
    """Build a daemon of a kind that owns its state directory, with its tasks, and an event that SIGTERM and SIGINT set.

    Leaving the context ends every task and stops no app. The state directory is another daemon's to use from then on,
    or `to_the_end` only once this process has ended, with every thread that still reads or writes there.
    """
    keep_descriptors()
    allow_many_open_files()  # a sleeping app costs one
    share_one_heap()
    adopt_orphans()
    asyncio.get_running_loop().set_default_executor(LoopThreads())
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    with contextlib.ExitStack() as held:
        lock = held.enter_context(acquire(settings.paths))
        if to_the_end:
            lock.keep()
        become_warded(app_users(settings.paths).keys(), partial(_pythons, settings))
        hold_counts()
        database, lost = held.enter_context(_opened(settings.paths))
        if settings.manifests == settings.paths.manifests:
            settings.manifests.mkdir(mode=0o700, exist_ok=True)
        used = DaemonRecord(manifests=settings.manifests, settings=settings.file, short_origin=settings.short_origin)
        record(Records(database), used)
        async with contextlib.AsyncExitStack() as last:
            try:
                async with asyncio.TaskGroup() as group:
                    backoff = Backoff(first_s=settings.retry_first_s, cap_s=settings.retry_cap_s)
                    tasks = StandingTasks(group, backoff=backoff, noise=random.Random())
                    daemon = kind(settings, database, tasks, lock=lock, lost=lost)
                    asyncio.get_running_loop().set_exception_handler(daemon.internal_errors)
                    last.push_async_callback(daemon.end_staging)
                    with contextlib.closing(daemon.fork_servers), contextlib.closing(daemon.keeper):
                        yield daemon, tasks, ending
                    raise _Ended
            except BaseExceptionGroup as group_of_errors:
                others = group_of_errors.split(_Ended)[1]
                if others is not None:
                    raise _only(others) from others


async def _report_status(manager: ServiceManager, daemon: Daemon, summary: HostSummary) -> None:
    """Report the host's status to the service manager, now and then."""
    while manager.listens:
        manager.status(daemon.problem() or summary.line())
        await next_tick(_STATUS_EVERY_S)


async def _report_ready(manager: ServiceManager, daemon: Daemon) -> None:
    """Report to the service manager that the daemon is ready, once it has read the manifests."""
    await daemon.manifests.looked.wait()
    manager.ready()


async def run(
    settings: Settings,
    started: Callable[[Daemon], None],
    *,
    stop_apps: bool = False,
    fork_server: Begun | None = None,
) -> bool:
    """Keep this host as its manifests say until SIGTERM or SIGINT; return whether `down` sent that.

    Raises AlreadyRunning. The apps keep serving without the daemon, unless `stop_apps`: then they are stopped first.
    The `fork_server` is one that was begun for the first of them.
    """
    manager, summary = ServiceManager(os.environ), HostSummary()
    async with built(settings, Daemon, to_the_end=True) as (daemon, tasks, ending):

        def look_now() -> None:
            manager.reloading()
            daemon.manifests.look_again()
            tasks.keep("report reloaded", partial(_report_ready, manager, daemon))

        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, look_now)
        daemon.fork_servers.take(fork_server)
        daemon.reports.listeners.append(summary.tell)
        daemon.journal.write(HOST, "daemon", f"started, pid {os.getpid()}")
        started(daemon)
        tasks.keep("adopt what runs", daemon.run)
        tasks.keep("report ready", partial(_report_ready, manager, daemon))
        tasks.keep("report status", partial(_report_status, manager, daemon, summary))
        tasks.keep("report to the watchdog", manager.stay_alive)
        await ending.wait()
        manager.stopping()
        if stop_apps:
            await daemon.stop_apps()
        from reconciler.daemon.shutdown import is_going_down  # what ends a daemon is loaded by one that ends

        down = is_going_down(settings.paths)
        left = "ended; 'reconciler down' stops its apps" if down else "ended; the apps keep serving"
        daemon.journal.write(HOST, "daemon", "ended, after its apps" if stop_apps else left)
    return down


class Watcher(Protocol):
    """What waits for the apps to be as desired."""

    done: asyncio.Event

    def tell(self, subject: Subject, report: Report | None) -> None:
        """Take the newest report on an app or a service; None once it is removed."""
        ...

    def expect(self, names: frozenset[str]) -> None:
        """Wait for exactly these apps; called once."""
        ...


async def apply(settings: Settings, watcher: Watcher, timeout_s: float) -> list[dict[str, Any]]:
    """Converge until the watcher is done, a signal comes or the time is over; the apps are left running.

    Returns the outcome of each app, service and refused manifest. Raises AlreadyRunning.
    """
    async with built(settings, Daemon) as (daemon, _, ending):
        daemon.reports.listeners.append(watcher.tell)
        watcher.expect(await daemon.once())
        waiting = [asyncio.create_task(event.wait()) for event in (watcher.done, ending)]
        try:
            await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        return [*daemon.outcomes.rows()]
