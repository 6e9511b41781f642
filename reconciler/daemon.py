"""The daemon: builds every part, connects what wakes to what is woken, and ends without stopping an app."""

import asyncio
import contextlib
import os
import random
import resource
import signal
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import uv

from reconciler.control import Control
from reconciler.controller import Backoff, Controller
from reconciler.converge import Report
from reconciler.history import History
from reconciler.host import Host, Wish
from reconciler.journal import Journal
from reconciler.manifests import memory
from reconciler.manifests.catalog import Catalog, Listing, Rules, Unreadable, review
from reconciler.manifests.directory import Directory
from reconciler.manifests.document import HostDefaults
from reconciler.manifests.look import look
from reconciler.observed import Observed
from reconciler.ownership import claimed
from reconciler.records import Records, open_or_rebuild, state_id
from reconciler.serving import logs
from reconciler.serving.doorbell import answer, open_doorbell
from reconciler.serving.instances import Instances
from reconciler.serving.listeners import is_free
from reconciler.serving.process import Orphans, boot_id, keep_descriptors, take_in_orphans
from reconciler.serving.templates import Templates
from reconciler.settings import Layout, Settings
from reconciler.staging.looks import Looks
from reconciler.staging.stager import Stager
from reconciler.staging.trees import Settling, Trees
from reconciler.watch import Watch
from reconciler.wishes import Wishes

_ROTATE_EVERY_S = 30.0
_COLLECT_EVERY_S = 3600.0
_TEND_EVERY_S = 30.0


class Daemon:
    """Every part of one running daemon, inside one task group.

    `told` are called with every report on an app, and with None once an app is gone for good.
    """

    def __init__(
        self, settings: Settings, database: sqlite3.Connection, tasks: asyncio.TaskGroup, *, lost: bool = False
    ) -> None:
        self.settings = settings
        self.records = Records(database)
        self.journal = Journal(database)
        self.told: list[Callable[[str, Report | None], None]] = []
        self._tasks = tasks
        self._lost = lost
        boot = boot_id()
        self._looks = Looks(self.records)
        self._history = History(self.records, boot)
        self.templates = Templates(
            log=settings.layout.templates_log, idle_s=settings.template_idle_s, answer_s=settings.template_answer_s
        )
        self._instances = Instances(
            self.records,
            state_id=state_id(settings.layout.state),
            boot=boot,
            templates=self.templates,
            changed=self._wake,
            launched=self._note_launch,
        )
        self._stager = stager_of(settings)
        self._host = Host(
            settings,
            self.records,
            self.journal,
            stager=self._stager,
            looks=self._looks,
            instances=self._instances,
            history=self._history,
            tasks=tasks,
            woken=self._wake,
            told=self._tell,
        )
        self._controller = Controller(
            self._host,
            tasks,
            backoff=Backoff(first_s=settings.retry_first_s, cap_s=settings.retry_cap_s),
            resync_s=settings.resync_s,
            noise=random.Random(),
        )
        self._look_now = asyncio.Event()
        self._refreshing: dict[str, bool] = {}
        self._rules = rules_of(settings)
        self.catalog = memory.restored(self.records, self._rules)
        self._unreadable = memory.apps_of_unreadable(self.records, self.catalog)
        self._freed: set[str] = set()

    async def keep(self) -> None:
        """Take back what runs, then follow the manifests until cancelled."""
        self._prepare()
        watch = Watch(asyncio.get_running_loop().call_soon_threadsafe)
        settling = Settling(quiet_s=self.settings.quiet_s, longest_s=self.settings.longest_s)
        directory = Directory(str(self.settings.manifests), watch, self._look_now.set)
        trees = Trees(watch, self._suspect, settling)
        self._tasks.create_task(self._rotate_logs(), name="rotate logs")
        self._tasks.create_task(self._warm_up(), name="warm up the stager")
        self._tasks.create_task(self._collect(), name="collect environments")
        self._tasks.create_task(self._stager.compile_ahead(), name="compile ahead")
        control = Control(self.settings.layout.control, Wishes(self).grant)
        await control.open()
        with contextlib.closing(directory), contextlib.closing(trees), contextlib.closing(control):
            while True:
                self._look_now.clear()
                await self._follow(await directory.look())
                await trees.follow(
                    {n: app.source.path for n, app in self.catalog.apps.items() if not app.source.pinned}
                )
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._seconds_to_next_look()):
                        await self._look_now.wait()

    async def once(self) -> frozenset[str]:
        """Take back what runs and look at the manifests a single time; returns every name there is work for."""
        self._prepare()
        await self._follow(await asyncio.to_thread(look, str(self.settings.manifests)))
        return self._host.names() | self.catalog.apps.keys()

    def wish(self, name: str, wish: Wish, text: str, who: str) -> None:
        """Do what an operator asks for once."""
        self._host.wish(name, wish)
        self.journal.write(name, "wish", text, f"asked for by {who}")
        self._controller.wake(name)

    def observed(self, name: str) -> Observed:
        """What is true of an app right now."""
        return self._host.observe(name)

    def look_now(self) -> None:
        """Look at the manifests without waiting for a change."""
        self._look_now.set()

    def _prepare(self) -> None:
        ports = self._host.restore(lost=self._lost)
        if self._lost:
            self.journal.write("", "daemon", "the state database was lost; what runs was found in the process table")
            self.catalog = replace(self.catalog, leases={**ports, **self.catalog.leases})
        self._tasks.create_task(self._tend(), name="tend templates and orphans")
        doorbell = open_doorbell(self.settings.layout.doorbell)
        asyncio.get_running_loop().add_reader(doorbell, answer, doorbell, self._rung)

    async def _follow(self, seen: Listing | Unreadable) -> None:
        before = self.catalog
        while self._freed:
            before = before.without_lease(self._freed.pop())
        # In a thread: parsing thousands of files takes a while.
        self.catalog = await asyncio.to_thread(review, before, seen, self._rules, time.monotonic())
        memory.remember(self.records, before, self.catalog, self.settings.manifests)
        self._tell_problems(before, self.catalog)
        self._unreadable = memory.still_unreadable(self._unreadable, self.catalog)
        self._host.follow(self.catalog.apps)
        self._controller.replace(self.catalog.apps, also=self._host.names() - self._unreadable.keys())

    def _wake(self, name: str) -> None:
        """Something about an app changed. One whose manifest cannot be understood is left alone."""
        if name not in self._unreadable:
            self._controller.wake(name)

    def _tell_problems(self, before: Catalog, after: Catalog) -> None:
        if after.notice and after.notice != before.notice:
            self.journal.write("", "manifest", after.notice)
        for file, entry in after.files.items():
            known = before.files[file].problems if file in before.files else ()
            stays = "its last good content stays in force" if entry.names else "nothing of it is in force"
            for problem in entry.problems:
                if problem not in known:
                    self.journal.write("", "manifest", f"refused: {problem}", stays)

    def _seconds_to_next_look(self) -> float:
        at = self.catalog.look_again_at
        return self.settings.rescan_s if at is None else min(self.settings.rescan_s, max(0.0, at - time.monotonic()))

    def _rung(self, name: str) -> None:
        """A worker has something to say."""
        self._instances.ring(name)
        self._wake(name)

    def _suspect(self, name: str) -> None:
        """Look at a source again; once more when it is suspected while being looked at."""
        if name in self._refreshing:
            self._refreshing[name] = True
            return
        self._refreshing[name] = False
        self._tasks.create_task(self._refresh(name), name=f"look at the source of {name}")

    async def _refresh(self, name: str) -> None:
        again = True
        while again:
            self._refreshing[name] = False
            if await self._looks.refresh(name):
                self.journal.write(name, "source", "its source changed")
                self._wake(name)
            again = self._refreshing[name]
        del self._refreshing[name]

    def _note_launch(self, name: str, what: str) -> None:
        with contextlib.suppress(sqlite3.Error):  # a full disk costs the journal a line, never an app its start
            self.journal.write(name, "started", what)

    def _tell(self, name: str, report: Report | None) -> None:
        if report is None:
            self._freed.add(name)
            self._look_now.set()
        for tell in self.told:
            tell(name, report)

    async def _warm_up(self) -> None:
        with contextlib.suppress(OSError, subprocess.SubprocessError):  # whatever it is, the first build will say so
            await self._stager.warm_up()

    async def _collect(self) -> None:
        """Remove the environments that no build has needed for a long time."""
        while True:
            await asyncio.sleep(_COLLECT_EVERY_S)
            with contextlib.suppress(OSError):
                removed = await asyncio.to_thread(collect, self.settings, self._stager)
                if removed:
                    self.journal.write("", "removed", f"environments that nothing needs: {', '.join(removed)}")

    async def _rotate_logs(self) -> None:
        """Rename what grew too large and let its writers reopen it: SIGUSR1 is gunicorn's word for that."""
        while True:
            await asyncio.sleep(_ROTATE_EVERY_S)
            for name in self._instances.apps():
                places = self._host.places(name)
                rotated = [
                    logs.rotate(log, self.settings.log_limit_bytes, self.settings.logs_kept)
                    for log in (places.log, places.access_log)
                ]
                if any(rotated):
                    for _, process in self._instances.processes(name):
                        process.signal(signal.SIGUSR1)

    async def _tend(self) -> None:
        """End templates nothing needs, and bury what the kernel made ours."""
        orphans = Orphans()
        while True:
            await asyncio.sleep(_TEND_EVERY_S)
            self.templates.tend()
            orphans.bury()


def stager_of(settings: Settings) -> Stager:
    """The stager of this host."""
    layout = settings.layout
    return Stager(
        builds=layout.builds,
        environments=layout.environments,
        cache=layout.cache,
        interpreters=settings.interpreters,
        timeout_s=settings.staging_timeout_s,
        slots=asyncio.Semaphore(settings.staging_slots),
        uv=os.fsdecode(uv.find_uv_bin()),
        environ=lambda: package_environ(settings, os.environ),
    )


def package_environ(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that say where packages come from: `environ`, and what the host's settings add to it.

    Files are read each time, so that a changed password holds at once; one that cannot be read is left out.
    """
    found = dict(environ)
    for name, value in settings.staging_env.items():
        with contextlib.suppress(OSError, ValueError):
            found[name] = value.read_text(encoding="utf-8").rstrip("\n") if isinstance(value, Path) else value
    return found


def collect(settings: Settings, stager: Stager) -> tuple[str, ...]:
    """Remove every environment that no build refers to and whose retention is over; returns their keys. Blocks."""
    apps = settings.layout.apps
    names = [entry.name for entry in apps.iterdir()] if apps.is_dir() else []
    return stager.collect(names, settings.retention_s)


def rules_of(settings: Settings) -> Rules:
    """What this host decides about manifests."""
    return Rules(
        host=HostDefaults(auto_workers=settings.auto_workers, crash=settings.crash),
        ports=settings.ports,
        is_free=is_free,
        prune_after_s=settings.prune_after_s,
    )


class _Ended(Exception):
    """Raised inside the task group to end every task of it."""


def _raise_descriptor_limit() -> None:
    """A sleeping app costs the daemon a descriptor: take as many as the host grants."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextlib.contextmanager
def _opened(layout: Layout) -> Iterator[tuple[sqlite3.Connection, bool]]:
    database, lost = open_or_rebuild(layout.database)
    with contextlib.closing(database):
        yield database, lost


@contextlib.asynccontextmanager
async def _built(settings: Settings) -> AsyncIterator[tuple[Daemon, asyncio.TaskGroup, asyncio.Event]]:
    """A daemon that owns its state directory, its tasks, and an event that SIGTERM and SIGINT set.

    Leaving the context ends every task and stops no app.
    """
    keep_descriptors()
    _raise_descriptor_limit()
    take_in_orphans()
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    with claimed(settings.layout), _opened(settings.layout) as (database, lost):
        try:
            async with asyncio.TaskGroup() as tasks:
                daemon = Daemon(settings, database, tasks, lost=lost)
                with contextlib.closing(daemon.templates):
                    yield daemon, tasks, ending
                raise _Ended
        except* _Ended:
            pass


async def run(settings: Settings, started: Callable[[Daemon], None]) -> None:
    """Keep this host as its manifests ask until SIGTERM or SIGINT; raises AlreadyRunning."""
    async with _built(settings) as (daemon, tasks, ending):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, daemon.look_now)
        daemon.journal.write("", "daemon", f"started, pid {os.getpid()}")
        started(daemon)
        tasks.create_task(daemon.keep(), name="follow the manifests")
        await ending.wait()
        daemon.journal.write("", "daemon", "ended; the apps go on")


class Watcher(Protocol):
    """Whoever waits for the apps to be as asked."""

    done: asyncio.Event

    def tell(self, name: str, report: Report | None) -> None:
        """How an app stands now; None when it is gone for good."""
        ...

    def expect(self, names: frozenset[str]) -> None:
        """These are all the apps there are to wait for; called once."""
        ...


async def apply(settings: Settings, watcher: Watcher, timeout_s: float) -> Catalog:
    """Converge until the watcher is done, a signal comes or the time is over; the apps are left running.

    Returns what was asked for; raises AlreadyRunning.
    """
    async with _built(settings) as (daemon, tasks, ending):
        daemon.told.append(watcher.tell)
        watcher.expect(await daemon.once())
        waiting = [tasks.create_task(event.wait()) for event in (watcher.done, ending)]
        await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        return daemon.catalog
