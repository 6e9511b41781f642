"""Work that is due now and then as long as the daemon runs, and that belongs to no single app."""

import asyncio
import contextlib
import signal
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.convergence.ticks import next_tick
from reconciler.daemon.log_rotation import LogRotation
from reconciler.daemon.reports import Reports
from reconciler.host.host_share_watch import EphemeralPorts, HostShareWatch, OpenFiles
from reconciler.host.staging_settings import collect
from reconciler.host.stores import Stores
from reconciler.host.world import AppWorld
from reconciler.linux.daemon_threads import DaemonThreads
from reconciler.linux.garbage import CalmCollections
from reconciler.linux.heap import own_heap
from reconciler.linux.host_files import HostFiles
from reconciler.linux.host_ports import HostPorts
from reconciler.linux.next_changes import NextChanges
from reconciler.linux.once_told import OnceTold
from reconciler.linux.processes import Orphans
from reconciler.metrics.load_recorder import LoadRecorder
from reconciler.metrics.sample import MemoryMeter, Sampler
from reconciler.planning.reason import Reason
from reconciler.planning.subject import HOST, Subject
from reconciler.services.world import ServiceWorld
from reconciler.serving.forkserver.pool import ForkServerPool
from reconciler.serving.instances import Instances
from reconciler.settings.settings import Settings
from reconciler.staging.stager import Stager

P = ParamSpec("P")
T = TypeVar("T")

_COLLECT_EVERY_S = 3600.0
_COLLECT_AGAIN_S = 86400.0  # after a registry has deleted nothing
_END_IDLE_EVERY_S = 30.0
_REAP_AFTER_S = 1.0
_WRITE_EVERY_S = 5.0
_COLLECT_GARBAGE_EVERY_S = 5.0  # while there is some: an idle daemon makes none
_MEMORY_AT_REST_S = 1800.0


class Housekeeping:
    """Rotates logs, records loads, removes what is unused, ends what is idle, reaps orphans and writes owed events."""

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        settings: Settings,
        stores: Stores,
        *,
        stager: Stager,
        instances: Instances,
        fork_servers: ForkServerPool,
        services: ServiceWorld,
        given: Callable[[], frozenset[str]],
        apps: AppWorld,
    ) -> None:
        self._settings = settings
        self._stores = stores
        self._journal = stores.journal
        self._history = stores.history
        self._stager = stager
        self._instances = instances
        self._fork_servers = fork_servers
        self._services = services
        self._given = given
        self._apps = apps

    def begin(self, tasks: StandingTasks, reports: Reports) -> None:
        """Start all of it."""
        rotation = LogRotation(
            self._settings.paths,
            self._instances,
            limit_bytes=self._settings.log_limit_bytes,
            keep=self._settings.logs_kept,
            changes=NextChanges(asyncio.get_running_loop().call_soon_threadsafe, content=True),
            record=self._on_cut_log,
            apart=_in_thread_of_logs,
        )
        reports.listeners += [rotation.on_report, self._apps.files.on_report]
        tasks.keep("rotate logs", rotation.run)
        tasks.keep("cut flooded logs", rotation.cut)
        tasks.keep("collect environments", self._collect)
        if self._settings.clusters:
            tasks.keep("collect images", self._collect_images)
        tasks.keep("end idle fork servers", self._end_idle)
        tasks.keep("reap orphans", self._reap)
        tasks.keep("write what is owed", self._catch_up)
        tasks.keep("collect garbage", _collect_garbage)
        tasks.keep("look for files in builds", self._apps.files.run)
        tasks.keep("watch the limits", self._apps.limits.run)
        tasks.keep("scale the workers", self._apps.scaling.run)
        with contextlib.suppress(OSError):  # a container may hide the figures
            files = HostFiles()
            for shared in (OpenFiles(files), EphemeralPorts(HostPorts("TCP")), EphemeralPorts(HostPorts("UDP"))):
                with contextlib.suppress(OSError, ValueError):
                    shared.figures()
                    watch = HostShareWatch(self._stores, self._instances, files, shared)
                    tasks.keep(f"watch the {shared.name}", watch.run)
        tasks.keep("watch the disks", self._apps.limits.watch_disks)
        tasks.keep("record loads", self._loads().run)

    def _loads(self) -> LoadRecorder:
        paths = self._settings.paths
        sampler = Sampler(paths, MemoryMeter(at_rest_s=_MEMORY_AT_REST_S))
        return LoadRecorder(paths, self._running_apps, sampler.sample_loads)

    def _running_apps(self) -> dict[str, tuple[str, ...]]:
        """Return the files of the workers of each app that runs, none for one that has no web server."""
        names = self._instances.apps() | self._instances.apps_of_processes()
        return {name: tuple(f for live in self._instances.lives(name) for f in live.worker_files()) for name in names}

    def _on_cut_log(self, app: str, text: str) -> None:
        self._journal.write(Subject("app", app), "daemon", text, reason=Reason.LOG_CUT)

    async def _collect(self) -> None:
        """Remove secrets that no revision names, what killed backups left, and environments past their retention."""
        while True:
            await asyncio.sleep(_COLLECT_EVERY_S)
            with contextlib.suppress(sqlite3.Error):
                self._services.rotation.forget_secrets(self._history.secrets() | self._given())
            await self._services.backups.remove_abandoned()
            with contextlib.suppress(OSError):
                removed = await asyncio.to_thread(collect, self._settings, self._stager)
                if removed:
                    self._journal.write(HOST, "removed", f"unused environments: {', '.join(removed)}")

    async def _collect_images(self) -> None:
        """Delete images past their retention that no revision needs; tell once of each that cannot be deleted.

        A registry that does not answer, or deletes nothing, is left alone for a day.
        """
        from reconciler.daemon.image_collection import collect_images  # few hosts have a cluster
        from reconciler.staging.images.registry import Patience

        told: set[str] = set()
        pause_s = _COLLECT_EVERY_S
        while True:
            await asyncio.sleep(pause_s)
            asked = partial(collect_images, self._settings, self._settings.retention_s, dry_run=False)
            with contextlib.suppress(OSError, sqlite3.Error):
                found = await asyncio.to_thread(asked, patience=Patience(attempts=1))
                pause_s = _COLLECT_AGAIN_S if found.kept else _COLLECT_EVERY_S
                if found.images:
                    self._journal.write(HOST, "removed", f"unused images: {', '.join(found.images)}")
                for kept in (each for each in found.kept if each not in told):
                    self._journal.write(HOST, "daemon", f"an image that no revision needs stays: {kept}")
                told = {*found.kept}

    async def _end_idle(self) -> None:
        """End fork servers that nothing needs, and give freed memory back."""
        heap = own_heap()
        await next_tick(_WRITE_EVERY_S)
        heap.give_back()  # what starting took
        while True:
            await next_tick(_END_IDLE_EVERY_S)
            heap.give_back()
            with contextlib.suppress(OSError):
                self._fork_servers.end_idle()
                self._instances.tend()

    async def _reap(self) -> None:
        """Reap processes that the kernel made ours, soon after they ended: as pid 1 there may be many.

        An app may have thousands end at once: their signals would fill what wakes the loop, and others would be lost.
        """
        orphans, died, loop = Orphans(), asyncio.Event(), asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, died.set)
        try:
            once = OnceTold(signal.SIGCHLD)
            while True:
                await died.wait()
                died.clear()
                await asyncio.sleep(_REAP_AFTER_S)
                once.ask()  # before the look: one that ends meanwhile is told
                with contextlib.suppress(OSError):
                    if orphans.reap():
                        died.set()
        finally:  # a loop that closes complains of a signal that still has a handler
            loop.remove_signal_handler(signal.SIGCHLD)

    async def _catch_up(self) -> None:
        """Write events that could not be written when they happened."""
        owed = asyncio.Event()
        self._journal.on_owed(owed.set)
        while True:
            owed.clear()
            if not self._journal.owes:
                await owed.wait()
            await next_tick(_WRITE_EVERY_S)
            self._journal.catch_up()


# As many may be flooded at once: whoever waits for a thread of asyncio's does not wait for gigabytes to be cut.
_threads_of_logs = DaemonThreads("logs", most=8)


async def _in_thread_of_logs(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    return await asyncio.wrap_future(_threads_of_logs.run(partial(function, *args, **kwargs)))


async def _collect_garbage() -> None:
    """Collect garbage while the loop has nothing else to do, and soon after much was loaded."""
    collections = CalmCollections()
    collections.begin()
    found = True
    while True:
        await next_tick(_COLLECT_GARBAGE_EVERY_S if found else _END_IDLE_EVERY_S)
        found = collections.collect()
