"""This machine as a World: what is true of each app here, and one line for each action that changes it.

Observing reads memory that exits, doorbells and actions keep true; every durable effect is on record before it is
relied upon.
"""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from reconciler.convergence.world import Report
from reconciler.host.depends_on import DependencyGraph
from reconciler.linux.files import leftovers, remove
from reconciler.planning.apps.actions import (
    Action,
    ArmActivation,
    ForgetApp,
    Listen,
    MarkGood,
    ReadSource,
    Reap,
    RecordFailure,
    Release,
    RemoveBuild,
    Scale,
    ServeHoldingPage,
    Sleep,
    Stage,
    Start,
    Stop,
    StopHoldingPage,
    Unlisten,
)
from reconciler.planning.apps.observed import ExternalInputs, Failure, Instance, Observed, Override, SleepState
from reconciler.planning.apps.plan import plan
from reconciler.planning.apps.serving import state_when_failing
from reconciler.planning.cache import Planner
from reconciler.planning.desired import Address, App, Build, Revision
from reconciler.planning.fingerprint import Json
from reconciler.planning.plan import Plan
from reconciler.planning.reason import Reason
from reconciler.planning.states import AppState
from reconciler.planning.subject import Subject
from reconciler.serving.gunicorn import Code, InjectedEnv, InstancePaths
from reconciler.serving.instances import CannotStart, Instances
from reconciler.serving.keeper import Keeper
from reconciler.serving.listeners import Listeners
from reconciler.serving.probes import Probe, Probes
from reconciler.settings.settings import Settings
from reconciler.staging.concurrency import DetachedWork
from reconciler.staging.errors import StagingError
from reconciler.staging.release import ReleaseCommand, run_release
from reconciler.staging.source.last_seen import SourceTracker
from reconciler.staging.stager import SourceChanged, Staged, Stager
from reconciler.state.journal import EventKind, Journal
from reconciler.state.records import AppStatus, Records
from reconciler.state.revision_history import RevisionHistory

OperatorRequest: TypeAlias = Override | Literal["start", "restart", "forget-failure"]


class SecretSource(Protocol):
    """Who supplies apps with credentials and secrets."""

    def inputs(self, app: App | None, name: str) -> ExternalInputs:
        """What an app is supplied with right now; cheap."""
        ...

    def injected(self, revision: Revision, directory: Path) -> InjectedEnv:
        """What an instance of a revision gets, with its files written below `directory`.

        From here on the instance may work with it. Raises CannotStart.
        """
        ...


class AppWorld:
    """The real World. `told` is called with every report on an app, and with None once nothing of it is left."""

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        settings: Settings,
        records: Records,
        journal: Journal,
        *,
        stager: Stager,
        tracker: SourceTracker,
        instances: Instances,
        keeper: Keeper,
        history: RevisionHistory,
        secret_source: SecretSource,
        tasks: asyncio.TaskGroup,
        woken: Callable[[str], None],
        told: Callable[[str, Report | None], None],
    ) -> None:
        self._settings = settings
        self._paths = settings.paths
        self._records = records
        self._journal = journal
        self._stager = stager
        self._tracker = tracker
        self._instances = instances
        self._told = told
        self._listeners = Listeners()
        self._keeper = keeper
        self._doors: dict[str, frozenset[Address]] = {}
        self._history = history
        self._secret_source = secret_source
        self._woken = woken
        self._dependencies = DependencyGraph()
        self._probes = Probes(tasks, self._on_probe)
        self._apps: Mapping[str, App] = {}
        self._planner: Planner[App, Observed, Plan[Action]] = Planner(plan)
        self._unserved: dict[str, float] = {}
        self._restart_before: dict[str, float] = {}
        self._builds = {name: stager.kept(name) for name in _directories(self._paths.apps)}
        self._released: dict[str, frozenset[str]] = records.releases()
        self._standings: dict[str, AppStatus] = records.app_statuses()
        self._staging: DetachedWork[Staged] = DetachedWork()
        self._booting = asyncio.Semaphore(settings.starting_slots)

    @property
    def probes(self) -> Counter[tuple[str, bool]]:
        """How often apps were asked how they are, by app and whether they were well."""
        return self._probes.asked

    def names(self) -> frozenset[str]:
        """Every app of which anything is left here, asked for or not."""
        known = {*self._builds, *self._standings}
        return self._instances.apps() | self._tracker.names() | self._history.names() | self._doors.keys() | known

    def follow(self, apps: Mapping[str, App]) -> None:
        """Learn what is asked of every app, for what one app has to know of another."""
        self._apps = apps
        self._dependencies.follow(apps)
        for name, app in apps.items():
            if not app.may_sleep:
                for address in self._doors.get(name, ()):
                    self._listeners.disarm(address)  # it is started without a knock, and counts as up when it is
            if app.address is not None:
                self._listeners.show(app.address, app.holding_page)
            if not app.may_sleep and self._history.of(name).sleep_state != SleepState():
                self._history.set_sleep_state(
                    name, SleepState()
                )  # what it slept with must not put it to sleep if it may again

    def request(self, name: str, wish: OperatorRequest) -> None:
        """Take a one-off request of an operator for what the plan is to see; the app has to be woken for it."""
        match wish:
            case Override():
                self._history.set_override(name, wish)
            case "start":
                self._history.set_override(name, None)
            case "restart":
                self._restart_before[name] = self.now()
            case "forget-failure":
                self._history.forget_failures(name)

    def restore(self) -> dict[str, int]:
        """Take back what an earlier daemon left running, its listeners first of all: who holds them keeps them open.

        Returns the port of each app that runs.
        """
        for name, address, kept in self._keeper.take():
            self._listeners.take(address, kept)
            self._opened(name, address)
        for found in self._instances.restore(self.paths, self._keep_door):
            if found.alive:
                self._record(found.app, "adopted", f"gunicorn {found.pid} goes on serving", "the daemon started")
                self._history.set_sleep_state(
                    found.app, replace(self._history.of(found.app).sleep_state, activated_at=self.now())
                )
        self._mark_detached()
        for name in self.names():
            self._instances.remove_unused(name, self.paths(name))
        self._sweep()
        addresses = [(name, i.address) for name in self._instances.apps() for i in self._instances.of(name)]
        return {name: address.port for name, address in addresses if address is not None}

    def _mark_detached(self) -> None:
        """An instance that listens on another socket than ours gets connections we know nothing of."""
        for name in self._instances.apps():
            for instance, process in self._instances.processes(name):
                address = instance.address
                if address is not None and self._listeners.is_known_to(process.pid, address) is False:
                    self._instances.mark_detached(name, instance.id)

    def _sweep(self) -> None:
        """Remove what staging or discarding left half done: found before anything is staged, removed meanwhile."""
        builds = [self._paths.builds(name) for name in self._builds]
        left = [path for directory in builds if directory.is_dir() for path in leftovers(directory)]
        if left:
            asyncio.get_running_loop().run_in_executor(None, _remove_all, left)

    def _keep_door(self, name: str, address: Address, pid: int) -> None:
        if address in self._doors.get(name, frozenset()):
            return
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(pid)
            try:
                if self._listeners.fetch(address, pidfd, pid):
                    self._opened(name, address)
            finally:
                os.close(pidfd)

    def now(self) -> float:
        return time.monotonic()

    def plan(self, name: str, asked: App | None) -> Plan[Action]:
        return self._planner.plan(name, asked, self.observe(name), self.now())

    def when_failing(self, name: str) -> AppState:
        return state_when_failing(self.observe(name))

    def observe(self, name: str) -> Observed:
        """What is true right now; cheap, and without an effect."""
        learnt = self._history.of(name)
        instances = self._instances.of(name)
        doors = self._doors.get(name, frozenset())
        return Observed(
            source=self._tracker.last(name),
            source_generation=self._tracker.changes(name),
            builds=self._builds.get(name, ()),
            released=self._released.get(name, frozenset()),
            listeners=doors,
            holding=frozenset(filter(self._listeners.is_holding, doors)),
            armed=frozenset(filter(self._listeners.is_armed, doors)),
            instances=instances,
            failures=learnt.failures,
            known_good=learnt.known_good,
            override=learnt.override,
            sleep_state=learnt.sleep_state,
            restart_before=self._restart_before.get(name, float("-inf")),
            unserved_since=self._unserved_since(name, instances, doors),
            unmet_dependencies=self._dependencies.unmet_dependencies(name, self._serves),
            stopping_dependents=self._dependencies.stopping_dependents(name, self._serves),
            has_residue=name in self._standings or self._tracker.last(name) is not None,
            inputs=self._secret_source.inputs(self._apps.get(name), name),
        )

    async def do(self, name: str, action: Action) -> None:  # noqa: C901, PLR0912  one line for each action
        match action:
            case ReadSource():
                await self._read(name, action)
            case Stage():
                await self._stage(name, action)
            case Listen():
                self._listen(name, action)
            case Release():
                await self._release(name, action)
            case Start():
                await self._start(name, action)
            case Scale():
                await self._scale(name, action)
            case MarkGood():
                self._history.mark_good(name, action.revision)
            case Sleep():
                await self._sleep(name, action)
            case ServeHoldingPage():
                self._listeners.serve_holding_page(action.address, action.page)
                self._record(
                    name, "holding", f"the daemon answers 503 on {action.address}", action.cause, action.reason
                )
            case StopHoldingPage():
                self._listeners.stop_holding_page(action.address)
            case ArmActivation():
                self._listeners.arm(action.address, partial(self._on_connection, name))
                self._wake_all(self._dependencies.dependents(name))
            case Stop():
                await self._stop(name, action)
            case Reap():
                self._reap(name, action)
            case RecordFailure():
                self._history.failed(name, replace(action.failure, last_at=self.now()))
                self._record(name, "failed", f"revision {action.failure.revision}: {action.cause}")
            case Unlisten():
                self._unlisten(name, action.address)
            case RemoveBuild():
                await self._remove_build(name, action.build)
            case ForgetApp():
                await self._forget_app(name)

    def report(self, name: str, report: Report) -> None:
        report = replace(report, message=self._journal.redacted(Subject("app", name), report.message))
        self._told(name, report)
        self._update_probes(name)
        before = self._standings.get(name)
        now = time.time()  # noqa: TID251  shown to people, never subtracted
        next_try_at = None if report.next_try_at is None else now + report.next_try_at - self.now()
        standing = AppStatus(
            state=report.state,
            message=report.message,
            wanted=report.wanted or (before.wanted if before else None),
            since=before.since if before is not None and before.state == report.state else now,
            next_try_at=next_try_at,
            reason=str(report.reason),
        )
        if standing == before:
            return
        self._standings[name] = standing
        with contextlib.suppress(sqlite3.Error):  # a full disk costs the display its freshness, nothing else
            self._records.set_app_status(name, standing)
        if report.failed_now:
            self._record(name, "failed", report.message, f"try {report.failures}", report.reason)

    def paths(self, name: str) -> InstancePaths:
        """Where an app's instances read and write."""
        paths = self._paths
        return InstancePaths(
            revisions=paths.revisions(name),
            readiness=paths.readiness(name),
            home=paths.home(name),
            scratch=paths.scratch(name),
            log=paths.log(name, "app"),
            access_log=paths.log(name, "access"),
            wakeup_pipe=paths.wakeup_pipe,
        )

    async def _read(self, name: str, action: ReadSource) -> None:
        await self._tracker.read(name, action.source)

    async def _stage(self, name: str, action: Stage) -> None:
        self._record(name, "staging", f"staging build {action.build.id}", action.cause, action.reason)
        try:
            # A crash meanwhile goes first, and costs the installation nothing: it is waited for again.
            staged = await self._staging.result(name, action.build.id, lambda: self._staged(name, action.build))
        except SourceChanged:
            self._tracker.doubt(name)
            return
        built = [b for b in self._builds.get(name, ()) if b != action.build.id]
        self._builds[name] = (*built, action.build.id)
        self._record(name, "staged", f"build {action.build.id}: {_summary(staged)}", action.cause, action.reason)

    async def end_staging(self) -> None:
        """End every build that is under way."""
        await self._staging.give_up_all()

    async def _staged(self, name: str, build: Build) -> Staged:
        def progress(phase: str) -> None:
            if self._staging.is_awaited(name):
                self._progress(name, phase)

        return await self._stager.stage(name, build, self._paths.log(name, "staging"), progress)

    def _progress(self, name: str, phase: str, state: AppState = "staging") -> None:
        before = self._standings.get(name)
        reason = Reason.STAGING if state == "staging" else Reason.RELEASING
        wanted = before.wanted if before else None
        self.report(name, Report(state=state, reason=reason, message=phase, wanted=wanted))

    def _listen(self, name: str, action: Listen) -> None:
        address = action.address
        if address in self._doors.get(name, frozenset()):
            return
        holders = [(i, p) for i, p in self._instances.processes(name) if i.address == address and not i.detached]
        fetched = any(self._listeners.fetch(address, process.fd, process.pid) for _, process in holders[:1])
        if not fetched and holders:
            self._listeners.open_beside(address)
            for instance, _ in holders:
                self._instances.mark_detached(name, instance.id)
        elif not fetched:
            self._listeners.open(address)
        self._opened(name, address)
        self._record(name, "listening", f"listening on {address}", "fetched back" if fetched else "")

    async def _release(self, name: str, action: Release) -> None:
        revision = action.revision
        assert revision.release is not None
        code, places = self._code(name, revision.build), self.paths(name)
        _create_directories(places)
        given = self._secret_source.injected(revision, places.revisions / revision.id)
        self._record(
            name, "releasing", f"running the release command of build {revision.build.id}", action.cause, action.reason
        )
        order = ReleaseCommand(
            app=name,
            command=revision.release,
            directory=code.directory,
            environment=self._instances.surroundings(revision, code, places, given),
            log=self._paths.log(name, "staging"),
            timeout_s=self._settings.staging_timeout_s,
        )
        try:
            await run_release(order, lambda phase: self._progress(name, phase, "starting"))
        except StagingError as error:
            self._failed(name, action.failing, str(error))
            return
        try:
            with self._records.lasting():
                self._records.add_release(name, action.release)
        except sqlite3.Error:  # it was run, and a full disk does not make it run again
            self._records.add_release(name, action.release)
        self._released[name] = self._released.get(name, frozenset()) | {action.release}
        self._record(
            name, "released", f"the release command of build {revision.build.id} worked", action.cause, action.reason
        )

    async def _start(self, name: str, action: Start) -> None:
        revision = action.revision
        assert revision.address is not None
        code = self._code(name, revision.build)
        places = self.paths(name)
        _create_directories(places)
        async with _start_slot(self._booting, self._settings.starting_slot_s):
            try:
                door, since = self._listeners.fd(revision.address), self._restart_before.get(name, float("-inf"))
                given = self._secret_source.injected(revision, places.revisions / revision.id)
                instance = await self._instances.start(
                    revision, code, places, door, given, workers=action.workers, since=since
                )
            except CannotStart as error:
                self._failed(name, action.failing, str(error))
                return
        self._record(
            name, "ready", f"gunicorn {instance.pid} serves revision {revision.id}", action.cause, action.reason
        )
        self._wake_all(self._dependencies.dependents(name))

    def _failed(self, name: str, failing: Failure, reason: str) -> None:
        """A revision did not get as far as serving: the plan decides what follows from that."""
        trouble = replace(failing, reason=reason, last_at=self.now())
        self._history.failed(name, trouble)
        self._record(name, "failed", f"revision {trouble.revision}: {reason}", f"try {trouble.count}")

    async def _sleep(self, name: str, action: Sleep) -> None:
        # Asleep from here on: who comes while the last requests finish knocks, and does not wait for them.
        self._history.set_sleep_state(name, SleepState(gate_passed=action.revision))
        self._woken(name)
        await self._instances.stop(name, action.instance)
        self._record(name, "sleeping", "stopped until somebody asks for it", action.cause, action.reason)

    def _on_connection(self, name: str) -> None:
        self._history.set_sleep_state(name, replace(self._history.of(name).sleep_state, activated_at=self.now()))
        self._woken(name)

    def _update_probes(self, name: str) -> None:
        app = self._apps.get(name)
        health = None if app is None else app.server.health
        if app is None or health is None or app.address is None:
            self._probes.ask(name, {})
            return
        host = health.host or str(app.address)
        question = Probe(address=app.address, health=health, host=host, liveness=app.liveness)
        serving = [i.id for i in self._instances.of(name) if i.serves and i.address == app.address]
        self._probes.ask(name, dict.fromkeys(serving[-1:], question))

    def _on_probe(self, name: str, instance: str, reason: str | None) -> None:
        """How an instance is, by its own answer."""
        known = next((i for i in self._instances.of(name) if i.id == instance), None)
        if known is None or known.unhealthy == reason or (known.unhealthy is not None and reason is not None):
            return
        if reason is None and any(i is not known and i.end is None for i in self._instances.of(name)):
            return  # they share the listener: it may be its successor that answers
        self._instances.mark_unhealthy(name, instance, reason)
        self._record(name, "unhealthy" if reason else "healthy", reason or "it answers as it must again")
        self._woken(name)

    def _serves(self, name: str) -> bool:
        """True for an app that answers, or would when asked."""
        asleep = any(map(self._listeners.is_armed, self._doors.get(name, ())))
        return asleep or any(i.serves for i in self._instances.of(name))

    def _unserved_since(self, name: str, instances: tuple[Instance, ...], doors: frozenset[Address]) -> float | None:
        if not doors or any(i.serves for i in instances):
            self._unserved.pop(name, None)
            return None
        return self._unserved.setdefault(name, self.now())

    def _wake_all(self, names: Iterable[str]) -> None:
        for name in names:
            self._woken(name)

    def _code(self, name: str, build: Build) -> Code:
        staged = self._stager.finished(name, build.id)
        if staged is None:
            self._builds[name] = tuple(b for b in self._builds.get(name, ()) if b != build.id)
            raise CannotStart(f"build {build.id} of {name} is damaged and is made again")
        return _code_of(staged)

    async def _scale(self, name: str, action: Scale) -> None:
        await self._instances.scale(name, action.instance, action.workers)
        self._record(
            name, "scaled", f"instance {action.instance} runs {action.workers} workers", action.cause, action.reason
        )

    async def _stop(self, name: str, action: Stop) -> None:
        pids = {i.id: i.pid for i in self._instances.of(name)}
        await self._instances.stop(name, action.instance)
        self._record(name, "stopped", f"gunicorn {pids.get(action.instance, 0)} stopped", action.cause, action.reason)
        self._wake_all(self._dependencies.depends_on(name))

    def _reap(self, name: str, action: Reap) -> None:
        gone = next((i for i in self._instances.of(name) if i.id == action.instance), None)
        if gone is None:
            return
        self._instances.reap(name, action.instance)
        if action.failure is not None:
            self._history.failed(name, replace(action.failure, last_at=self.now()))
        self._wake_all(self._dependencies.depends_on(name))
        died = gone.stopping_since is None
        self._record(name, "exited" if died else "stopped", f"gunicorn {gone.pid} {gone.end}")

    def _opened(self, name: str, address: Address) -> None:
        self._doors[name] = self._doors.get(name, frozenset()) | {address}
        self._keeper.keep(name, address, self._listeners.fd(address))

    def _unlisten(self, name: str, address: Address) -> None:
        self._keeper.drop(name, address)
        self._listeners.close(address)
        self._doors[name] = self._doors.get(name, frozenset()) - {address}
        self._wake_all(self._dependencies.depends_on(name))

    async def _remove_build(self, name: str, build: str) -> None:
        await asyncio.to_thread(self._stager.discard, name, build)
        self._builds[name] = tuple(b for b in self._builds.get(name, ()) if b != build)

    async def _forget_app(self, name: str) -> None:
        await self._staging.give_up(name)
        await asyncio.to_thread(shutil.rmtree, self._paths.app(name), ignore_errors=True)
        with self._records.lasting():
            self._records.erase(name)
        for known in (
            self._builds, self._doors, self._released, self._standings, self._unserved, self._restart_before
        ):  # fmt: skip
            known.pop(name, None)
        self._tracker.forget(name)
        self._history.forget(name)
        self._dependencies.forget(name)
        self._record(name, "removed", "removed; its home directory and logs are kept", "no manifest asks for it")
        self._told(name, None)

    def _record(self, name: str, kind: EventKind, text: str, cause: str = "", reason: str = "") -> None:
        with contextlib.suppress(sqlite3.Error):  # a full disk costs the journal a line, never an app its restart
            self._journal.write(Subject("app", name), kind, text, cause, reason)


@contextlib.asynccontextmanager
async def _start_slot(slots: asyncio.Semaphore, at_most_s: float) -> AsyncIterator[None]:
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


def _remove_all(paths: list[Path]) -> None:
    for path in paths:
        remove(path)


def _directories(parent: Path) -> list[str]:
    return sorted(entry.name for entry in parent.iterdir()) if parent.is_dir() else []


def _create_directories(places: InstancePaths) -> None:
    for directory in (places.revisions, places.readiness, places.home, places.scratch):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(OSError):  # an app that cannot have a log starts without one, and that is told
        places.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)


def _summary(staged: Staged) -> str:
    what = f"{staged.entrypoint} on python {staged.python_version} with gunicorn {staged.gunicorn_version}"
    environment = f"; environment {staged.because}" if staged.because else ""
    reported = f"; not taken over: {', '.join(staged.reported)}" if staged.reported else ""
    return f"{what}{environment}{reported}"


def _code_of(staged: Staged) -> Code:
    return Code(
        directory=staged.code,
        python=staged.python,
        target=staged.entrypoint,
        worker_class=staged.worker_class,
        runtime=f"python {staged.python_version}",
        settings=_settings_of(staged),
    )


def _settings_of(staged: Staged) -> dict[str, Json]:
    """What the code itself asks of gunicorn; the manifest has the last word."""
    paths: dict[str, Json] = {"pythonpath": ",".join(staged.pythonpath)} if staged.pythonpath else {}
    return {**staged.gunicorn, **paths}
