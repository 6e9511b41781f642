"""This machine as a World: what is true of each app here, and one line for each action that changes it.

Observing reads memory that exits, doorbells and actions keep true; every durable effect is on record before it is
relied upon.
"""

import asyncio
import contextlib
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from reconciler.actions import Action, Bury, Discard, Erase, Listen, ReadSource, Stage, Start, Stop, Unlisten
from reconciler.converge import Report
from reconciler.desired import Address, Build, Revision
from reconciler.journal import Journal, Kind
from reconciler.observed import Crashes, Observed
from reconciler.records import Records, Standing
from reconciler.serving.gunicorn import Code, Places
from reconciler.serving.instances import CannotStart, Instances
from reconciler.serving.listeners import Listeners
from reconciler.settings import Settings
from reconciler.staging.looks import Looks
from reconciler.staging.stager import SourceChanged, Staged, Stager


class Host:
    """The real World. `told` is called with every report on an app, and with None once nothing of it is left."""

    def __init__(
        self,
        settings: Settings,
        records: Records,
        journal: Journal,
        *,
        stager: Stager,
        looks: Looks,
        instances: Instances,
        boot: str,
        told: Callable[[str, Report | None], None],
    ) -> None:
        self._settings = settings
        self._layout = settings.layout
        self._records = records
        self._journal = journal
        self._stager = stager
        self._looks = looks
        self._instances = instances
        self._told = told
        self._listeners = Listeners()
        self._doors: dict[str, frozenset[Address]] = {}
        self._crashes: dict[str, Crashes] = records.crashes(boot)
        self._builds = {name: stager.kept(name) for name in _directories(self._layout.apps)}
        self._standings: dict[str, Standing] = records.standings()
        self._booting = asyncio.Semaphore(settings.booting_slots)

    def names(self) -> frozenset[str]:
        """Every app of which anything is left here, asked for or not."""
        return self._instances.apps() | self._looks.names() | {*self._builds, *self._crashes, *self._standings}

    def restore(self) -> None:
        """Take back what an earlier daemon left running."""
        for found in self._instances.restore(self.places):
            if found.alive:
                self._note(found.app, "adopted", f"gunicorn {found.pid} goes on serving", "the daemon started")

    def now(self) -> float:
        return time.monotonic()

    def observe(self, name: str) -> Observed:
        return Observed(
            source=self._looks.last(name),
            changes=self._looks.changes(name),
            builds=self._builds.get(name, ()),
            listeners=self._doors.get(name, frozenset()),
            instances=self._instances.of(name),
            crashes=self._crashes.get(name),
            traces=name in self._standings or self._looks.last(name) is not None,
        )

    async def do(self, name: str, action: Action) -> None:
        match action:
            case ReadSource():
                await self._read(name, action)
            case Stage():
                await self._stage(name, action)
            case Listen():
                self._listen(name, action)
            case Start():
                await self._start(action)
            case Stop():
                await self._stop(name, action)
            case Bury():
                self._bury(name, action)
            case Unlisten():
                self._unlisten(name, action.address)
            case Discard():
                await self._discard(name, action.build)
            case Erase():
                await self._erase(name)

    def report(self, name: str, report: Report) -> None:
        self._told(name, report)
        before = self._standings.get(name)
        now = time.time()  # noqa: TID251  shown to people, never subtracted
        next_try_at = None if report.next_try_at is None else now + report.next_try_at - self.now()
        standing = Standing(
            state=report.state,
            message=report.message,
            wanted=report.wanted or (before.wanted if before else None),
            since=before.since if before is not None and before.state == report.state else now,
            next_try_at=next_try_at,
        )
        if standing == before:
            return
        self._standings[name] = standing
        with contextlib.suppress(sqlite3.Error):  # a full disk costs the display its freshness, nothing else
            self._records.set_standing(name, standing)
        if report.failures:
            self._note(name, "failed", report.message, f"try {report.failures}")

    def places(self, name: str) -> Places:
        """Where an app's instances read and write."""
        layout = self._layout
        return Places(
            revisions=layout.revisions(name),
            passed=layout.passed(name),
            home=layout.home(name),
            scratch=layout.scratch(name),
            log=layout.log(name, "app"),
            access_log=layout.log(name, "access"),
            doorbell=layout.doorbell,
        )

    async def _read(self, name: str, action: ReadSource) -> None:
        await self._looks.read(name, action.source)

    async def _stage(self, name: str, action: Stage) -> None:
        self._note(name, "staging", f"staging build {action.build.id}", action.cause)
        try:
            staged = await self._stager.stage(
                name, action.build, self._layout.log(name, "staging"), lambda phase: self._progress(name, phase)
            )
        except SourceChanged:
            self._looks.doubt(name)
            return
        built = [b for b in self._builds.get(name, ()) if b != action.build.id]
        self._builds[name] = (*built, action.build.id)
        self._note(name, "staged", f"build {action.build.id}: {_summary(staged)}", action.cause)

    def _progress(self, name: str, phase: str) -> None:
        before = self._standings.get(name)
        self.report(name, Report(state="staging", message=phase, wanted=before.wanted if before else None))

    def _listen(self, name: str, action: Listen) -> None:
        address = action.address
        holders = [(i, p) for i, p in self._instances.processes(name) if i.address == address and not i.stranded]
        fetched = any(self._listeners.fetch(address, process.fd, process.pid) for _, process in holders[:1])
        if not fetched and holders:
            self._listeners.open_beside(address)
            for instance, _ in holders:
                self._instances.strand(name, instance.id)
        elif not fetched:
            self._listeners.open(address)
        self._doors[name] = self._doors.get(name, frozenset()) | {address}
        self._note(name, "listening", f"listening on {address}", "fetched back" if fetched else "")

    async def _start(self, action: Start) -> None:
        revision = action.revision
        code = self._code(revision.app, revision.build)
        places = self.places(revision.app)
        _furnish(places)
        async with _place(self._booting, self._settings.booting_slot_s):
            try:
                instance = await self._instances.start(
                    revision, code, places, self._listeners.fd(revision.address)
                )
            except CannotStart as error:
                raise CannotStart(f"cannot start {revision.app}: {error}") from error
        self._note(revision.app, "ready", f"gunicorn {instance.pid} serves revision {revision.id}", action.cause)

    def _code(self, name: str, build: Build) -> Code:
        staged = self._stager.finished(name, build.id)
        if staged is None:
            self._builds[name] = tuple(b for b in self._builds.get(name, ()) if b != build.id)
            raise CannotStart(f"build {build.id} of {name} is damaged and is made again")
        return _code_of(staged)

    async def _stop(self, name: str, action: Stop) -> None:
        pids = {i.id: i.pid for i in self._instances.of(name)}
        await self._instances.stop(name, action.instance)
        self._note(name, "stopped", f"gunicorn {pids.get(action.instance, 0)} stopped", action.cause)

    def _bury(self, name: str, action: Bury) -> None:
        (gone,) = (i for i in self._instances.of(name) if i.id == action.instance)
        crashes = self._instances.bury(name, action.instance, self._crashes.get(name), action.good_run_s)
        if crashes is not None:
            self._crashes[name] = crashes
        died = gone.stopping_since is None
        self._note(name, "died" if died else "stopped", f"gunicorn {gone.pid} {gone.end}")

    def _unlisten(self, name: str, address: Address) -> None:
        self._listeners.close(address)
        self._doors[name] = self._doors.get(name, frozenset()) - {address}

    async def _discard(self, name: str, build: str) -> None:
        await asyncio.to_thread(self._stager.discard, name, build)
        self._builds[name] = tuple(b for b in self._builds.get(name, ()) if b != build)

    async def _erase(self, name: str) -> None:
        await asyncio.to_thread(shutil.rmtree, self._layout.app(name), ignore_errors=True)
        with self._records.lasting():
            self._records.erase(name)
        for known in (self._builds, self._doors, self._crashes, self._standings):
            known.pop(name, None)
        self._looks.forget(name)
        self._note(name, "removed", "removed; its home directory and logs are kept", "no manifest asks for it")
        self._told(name, None)

    def _note(self, name: str, kind: Kind, text: str, cause: str = "") -> None:
        with contextlib.suppress(sqlite3.Error):  # a full disk costs the journal a line, never an app its restart
            self._journal.write(name, kind, text, cause)


@contextlib.asynccontextmanager
async def _place(slots: asyncio.Semaphore, at_most_s: float) -> AsyncIterator[None]:
    """A place among those who boot now, given up early by one that boots slowly: it must not starve the others."""
    await slots.acquire()
    leaving = iter((slots.release,))

    def leave() -> None:
        for release in leaving:
            release()

    timer = asyncio.get_running_loop().call_later(at_most_s, leave)
    try:
        yield
    finally:
        timer.cancel()
        leave()


def _directories(parent: Path) -> list[str]:
    return sorted(entry.name for entry in parent.iterdir()) if parent.is_dir() else []


def _furnish(places: Places) -> None:
    for directory in (places.revisions, places.passed, places.home, places.scratch, places.log.parent):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def _summary(staged: Staged) -> str:
    return f"{staged.entrypoint} on python {staged.python_version} with gunicorn {staged.gunicorn_version}"


def _code_of(staged: Staged) -> Code:
    return Code(
        directory=staged.code,
        python=staged.python,
        target=staged.entrypoint,
        worker_class=staged.worker_class,
        runtime=f"python {staged.python_version}",
    )
