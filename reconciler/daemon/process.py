"""A daemon in this process: run until it is told to end, or until all is as asked once; no app ends with it."""

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol

from reconciler.convergence.world import Report
from reconciler.daemon.daemon import Daemon
from reconciler.daemon.summary import HostSummary
from reconciler.linux.processes import adopt_orphans, keep_descriptors
from reconciler.linux.systemd import ServiceManager
from reconciler.manifests.catalog import Catalog
from reconciler.planning.subject import HOST, Subject
from reconciler.settings.settings import Settings
from reconciler.state.database import Database
from reconciler.state.lock import acquire
from reconciler.state.paths import StatePaths
from reconciler.state.schema import open_or_rebuild

_STATUS_EVERY_S = 5.0
_M_ARENA_MAX = -8  # malloc.h


class _Ended(Exception):
    """Raised inside the task group to end every task of it."""


def _raise_descriptor_limit() -> None:
    """A sleeping app costs the daemon a descriptor: take as many as the host grants."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _share_one_heap() -> None:
    """Threads here mostly wait: a heap for each of them, as glibc gives by default, only costs memory."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


@contextlib.contextmanager
def _opened(paths: StatePaths) -> Iterator[tuple[Database, bool]]:
    database, lost = open_or_rebuild(paths.database)
    with contextlib.closing(database):
        database.defer()
        yield database, lost


@contextlib.asynccontextmanager
async def _built(settings: Settings) -> AsyncIterator[tuple[Daemon, asyncio.TaskGroup, asyncio.Event]]:
    """A daemon that owns its state directory, its tasks, and an event that SIGTERM and SIGINT set.

    Leaving the context ends every task and stops no app.
    """
    keep_descriptors()
    _raise_descriptor_limit()
    _share_one_heap()
    adopt_orphans()
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    with acquire(settings.paths), _opened(settings.paths) as (database, lost):
        async with contextlib.AsyncExitStack() as last:
            try:
                async with asyncio.TaskGroup() as tasks:
                    daemon = Daemon(settings, database, tasks, lost=lost)
                    last.push_async_callback(daemon.end_staging)
                    with contextlib.closing(daemon.fork_servers), contextlib.closing(daemon.keeper):
                        yield daemon, tasks, ending
                    raise _Ended
            except* _Ended:
                pass


async def _keep_told(manager: ServiceManager, daemon: Daemon, standing: HostSummary) -> None:
    """Tell the service manager how all stands, now and then."""
    while manager.listens:
        manager.status(daemon.trouble() or standing.line())
        await asyncio.sleep(_STATUS_EVERY_S)


async def _tell_ready(manager: ServiceManager, daemon: Daemon) -> None:
    """Tell the service manager once the manifests were looked at."""
    await daemon.looked.wait()
    manager.ready()


async def run(settings: Settings, started: Callable[[Daemon], None], *, stop_apps: bool = False) -> None:
    """Keep this host as its manifests ask until SIGTERM or SIGINT; raises AlreadyRunning.

    The apps go on without the daemon, unless `stop_apps`: they are told to end first, and waited for.
    """
    manager, standing = ServiceManager(os.environ), HostSummary()
    async with _built(settings) as (daemon, tasks, ending):

        def look_now() -> None:
            manager.reloading()
            daemon.look_now()
            tasks.create_task(_tell_ready(manager, daemon), name="tell that it was reloaded")

        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, look_now)
        daemon.report_listeners.append(standing.tell)
        daemon.journal.write(HOST, "daemon", f"started, pid {os.getpid()}")
        started(daemon)
        tasks.create_task(daemon.run(), name="follow the manifests")
        tasks.create_task(_tell_ready(manager, daemon), name="tell that it is ready")
        tasks.create_task(_keep_told(manager, daemon, standing), name="tell the service manager")
        tasks.create_task(manager.stay_alive(), name="show the watchdog that the loop turns")
        await ending.wait()
        manager.stopping()
        if stop_apps:
            await daemon.stop_apps()
        daemon.journal.write(HOST, "daemon", "ended; so did the apps" if stop_apps else "ended; the apps go on")


class Watcher(Protocol):
    """Whoever waits for the apps to be as asked."""

    done: asyncio.Event

    def tell(self, subject: Subject, report: Report | None) -> None:
        """Take the newest report on an app or a service; None once it is gone."""
        ...

    def expect(self, names: frozenset[str]) -> None:
        """These are all the apps there are to wait for; called once."""
        ...


async def apply(settings: Settings, watcher: Watcher, timeout_s: float) -> Catalog:
    """Converge until the watcher is done, a signal comes or the time is over; the apps are left running.

    Returns what was asked for; raises AlreadyRunning.
    """
    async with _built(settings) as (daemon, tasks, ending):
        daemon.report_listeners.append(watcher.tell)
        watcher.expect(await daemon.once())
        waiting = [tasks.create_task(event.wait()) for event in (watcher.done, ending)]
        await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        return daemon.catalog
