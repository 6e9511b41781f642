"""This machine as the World of apps: what is true of each app, and one line for each action that changes it.

Observing reads memory that exits, wake-ups and actions keep true; every durable effect is on record before it is
relied upon.
"""

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache, partial

from reconciler.convergence.slots import Slots
from reconciler.convergence.world import Report
from reconciler.host.adoptions import adopt_all
from reconciler.host.app_listeners import AppListeners
from reconciler.host.app_places import AppPlaces
from reconciler.host.app_scaling import AppScaling
from reconciler.host.app_statuses import Standings
from reconciler.host.builds import AppBuilds
from reconciler.host.canaries import Canaries
from reconciler.host.depends_on import DependencyGraph
from reconciler.host.files_in_builds import FilesInBuilds
from reconciler.host.instance_changes import InstanceChanges
from reconciler.host.limit_watch import LimitWatch
from reconciler.host.manifest_rules import socket_directories
from reconciler.host.probes import AppProbes
from reconciler.host.proxy_view import ProxyView
from reconciler.host.release_commands import AppReleaseCommands
from reconciler.host.release_recorder import ReleaseRecorder
from reconciler.host.request_effects import OperatorRequest, take_request
from reconciler.host.runtime import Runtime
from reconciler.host.secret_source import SecretSource
from reconciler.host.stores import Stores
from reconciler.host.take_over import is_taken_over, take_over
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
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Observed, SleepState
from reconciler.planning.apps.plan import plan
from reconciler.planning.apps.plan_instances import state_when_failing
from reconciler.planning.apps.plan_preparation import prepared
from reconciler.planning.cache import Planner
from reconciler.planning.canary.actions import BeginCanary, EndCanary, WeighCanary
from reconciler.planning.desired_state import DesiredState
from reconciler.planning.isolation.actions import ApplyLimits
from reconciler.planning.plan import Plan
from reconciler.planning.states import AppState
from reconciler.planning.subject import Subject
from reconciler.serving.instances import Instances
from reconciler.serving.keeper import Keeper
from reconciler.serving.live_instance import CannotStart
from reconciler.serving.programs.gunicorn import InstancePaths
from reconciler.serving.programs.registry import program_of
from reconciler.settings.settings import Settings
from reconciler.staging.errors import StagingError
from reconciler.staging.progress import Phase
from reconciler.staging.source.last_seen import SourceTracker
from reconciler.staging.stager import SourceChanged, Stager
from reconciler.state.journal import EventKind


class AppWorld:
    """The World of apps here.

    `files` notices what apps write into builds, `limits` what they use, `places` is where all else of them runs.
    """

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        settings: Settings,
        stores: Stores,
        runtime: Runtime,
        *,
        stager: Stager,
        tracker: SourceTracker,
        instances: Instances,
        keeper: Keeper,
        secret_source: SecretSource,
    ) -> None:
        self._paths = settings.paths
        self._stores = stores
        self._history = stores.history
        self._record = stores.record_event
        self._wakeups = runtime.wakeups
        self._tasks, self._removals = runtime.tasks, runtime.removals
        self._tracker = tracker
        self._instances = instances
        self._secret_source = secret_source
        self._dependencies = DependencyGraph()
        self._standings = Standings(stores, runtime.publish)
        self._wakeups.rests = self._standings.rest
        self._listeners = AppListeners(instances, keeper, self._on_client, socket_directories(settings), self._record)
        self._builds = AppBuilds(settings.paths, stager, runtime.removals, self._on_phase, instances=instances)
        self.places = AppPlaces(self._paths, self._history, self._builds, instances, secret_source)
        self.proxy = ProxyView(self._listeners, self._instances)
        self.places.prepared = lambda name: prepared(self._apps.get(name), self.observe(name))
        self._release_commands = AppReleaseCommands(settings, stores, secret_source, self._builds, self.places)
        self._releases = ReleaseRecorder(settings.paths, stores)
        self.canaries = Canaries(stores, instances, self._listeners, self._releases, runtime)
        self._changes = InstanceChanges(stores, instances, self._releases, self.canaries, self._on_instance_gone)
        self.files = FilesInBuilds(self._paths, self._builds, instances, self._wakeups, self._record)
        self.probes = AppProbes(stores, instances, runtime.wakeups, runtime.tasks)
        self.limits = LimitWatch(self._paths, stores, instances, rest_s=settings.limits_rest_s)
        self.scaling = AppScaling(settings, stores, runtime.wakeups, instances, self._listeners, self._builds)
        self._slots = Slots(settings.starting_slots, settings.starting_slot_s)
        self._apps: Mapping[str, App] = {}
        self._planner: Planner[App, Observed, Plan[Action]] = Planner(plan)
        self._restart_before: dict[str, float] = {}

    def names(self) -> frozenset[str]:
        """Return every app of which anything is left here, desired or not."""
        parts = (self._listeners, self._tracker, self._history, self._builds, self._standings)
        return self._instances.apps().union(*(part.names() for part in parts))

    def follow(self, desired: DesiredState) -> Mapping[str, App]:
        """Learn what is desired of every app, for what one app has to know of another, and return the apps."""
        self._tracker.follow({name: app.source for name, app in desired.apps.items()})
        self._apps = desired.apps
        self._instances.cells.follow(desired.apps)
        for part in (self._releases, self.canaries, self._dependencies, self._listeners, self.scaling):
            part.follow(self._apps)
        self._history.keep_awake(name for name, app in self._apps.items() if not app.may_sleep)
        if not is_taken_over(self._stores):
            found = ((name, self._apps.get(name), self.observe(name)) for name in self.names())
            take_over(found, self._stores, self._instances, self._secret_source)
        return self._apps

    def request(self, name: str, request: OperatorRequest, who: str = "") -> None:
        """Take a request of the operator `who` for the next plan to see, and wake the app."""
        self._releases.requested(name, request, who)
        take_request(name, request, self._history, self._restart_before, self.now())
        if request == "restart":
            self._tracker.doubt(name)
        self._wakeups.wake(name)

    def restore(self) -> dict[str, int]:
        """Adopt what an earlier daemon left running, the listeners first: the keeper holds them for a while only.

        Returns the port of each app that runs.
        """
        self._listeners.take_back()
        adopt_all(self._instances, paths := cache(self.paths), self.canaries.fetch, self._tasks, self._on_adopted)
        self._listeners.mark_detached()
        self.canaries.restore()
        for name in self._instances.apps():
            self._listeners.resume(name)
        for name in self.names():
            self._history.staged(name)  # this daemon tries once more what only an edit can fix
            self._instances.remove_unused(name, paths(name))
        self._builds.remove_leftovers()
        return self._listeners.ports()

    def now(self) -> float:
        return time.monotonic()

    def plan(self, name: str, asked: App | None, observed: Observed | None = None) -> Plan[Action]:
        return self._planner.plan(name, asked, observed or self.observe(name), self.now())

    def when_failing(self, name: str) -> AppState:
        return state_when_failing(self.observe(name))

    def observe(self, name: str) -> Observed:
        """Return what is true right now; cheap, and without an effect."""
        history, instances = self._history.of(name), self._instances.of(name)
        return Observed(
            source=self._tracker.last(name),
            source_generation=self._tracker.generation(name),
            builds=self._builds.of(name),
            commands=self._builds.commands(name),
            released=self._release_commands.of(name),
            listeners=self._listeners.of(name),
            holding=self._listeners.holding(name),
            armed=self._listeners.armed(name),
            instances=instances,
            failures=history.failures,
            known_good=history.known_good,
            override=history.override,
            sleep_state=history.sleep_state,
            restart_before=self._restart_before.get(name, float("-inf")),
            unserved_since=self._listeners.unserved_since(name, instances),
            ceded=self._listeners.ceded(name, instances),
            unmet_dependencies=self._dependencies.unmet_dependencies(name, self._serves),
            unknown_dependencies=self._dependencies.unknown_dependencies(name),
            stopping_dependents=self._dependencies.stopping_dependents(name, self._serves, self._instances.is_alive),
            has_residue=name in self._standings or self._tracker.last(name) is not None,
            inputs=self._secret_source.inputs(self._apps.get(name), name),
            written=self._builds.written(name),
            builds_in_use=self._instances.users.builds(name),
            processes=self.places.verdicts.of(name),
            dialled=self.proxy.dialled(name, self._apps.get(name)),
            scaling=self.scaling.state(name),
            split=self.canaries.of(name),
            undivided=self.canaries.undivided(name),
            held_workers=history.held_workers,
        )

    async def do(self, name: str, action: Action) -> None:  # noqa: C901, PLR0912  one line for each action
        self._releases.begin(name, action)
        match action:
            case ReadSource():
                await self._tracker.read(name, action.source)
            case Stage():
                await self._stage(name, action)
            case Listen():
                self._listen(name, action)
            case Release():
                await self._release(name, action)
            case Start():
                await self._start(name, action)
            case Scale():
                await self._changes.scale(name, action)
            case ApplyLimits():
                self._changes.apply_limits(name, action)
            case MarkGood():
                self._history.mark_good(name, action.revision)
            case Sleep():
                await self._sleep(name, action)
            case ServeHoldingPage():
                self._listeners.serve_holding_page(action.address, action.page)
                self._record_action(name, "holding", f"the daemon answers 503 on {action.address}", action)
            case StopHoldingPage():
                self._listeners.stop_holding_page(action.address)
            case ArmActivation():
                self._listeners.arm(name, action.address)
                self._wake_all(self._dependencies.dependents(name))
            case BeginCanary() | WeighCanary() | EndCanary():
                await self.canaries.do(name, action)
            case Stop():
                await self._changes.stop(name, action)
            case Reap():
                self._changes.reap(name, action, self.now())
            case RecordFailure():
                self._releases.failed(name, replace(action.failure, last_at=self.now()))
                text = f"revision {action.failure.revision}: {action.cause}"
                self._record(name, "failed", text, reason=action.reason)
            case Unlisten():
                heirs = self._listeners.unlisten(name, action.address)
                self._wake_all((*heirs, *self._dependencies.depends_on(name)))
            case RemoveBuild():
                await self._releases.before_removing(name, action.build)
                self.files.kept(name, action.build, await self._builds.remove(name, action.build))
            case ForgetApp():
                await self._forget_app(name, action)
        self.proxy.moved(self._apps.get(name))

    def report(self, name: str, report: Report) -> None:
        report = replace(report, message=self._stores.journal.redacted(Subject("app", name), report.message))
        app = self._apps.get(name)
        proven_s = 0.0 if app is None else app.probation_s
        lasts = all(self.now() >= i.ready_at + proven_s for i in self._instances.of(name) if i.ready_at is not None)
        self._standings.report(name, report, lasts=lasts)
        self.probes.update(name, app)

    def paths(self, name: str) -> InstancePaths:
        """Return where an app's instances read and write."""
        return InstancePaths.of(self._paths, name)

    def reused_environment(self, name: str, build: str) -> bool:
        """Return whether a finished build got an environment that was in the store already."""
        return self._builds.reused_environment(name, build)

    async def end_staging(self) -> None:
        """End every installation that is under way; what failed before it is the last word on its app."""
        await self._builds.cancel_all()
        await self._instances.clear()
        self._standings.end()

    def close_listeners(self) -> None:
        """Close this process's copy of every listener; instances keep theirs."""
        self._listeners.close_all()

    def _on_phase(self, name: str, state: AppState, phase: Phase) -> None:
        serves = any(instance.serves for instance in self._instances.of(name))
        self.report(name, self._standings.progress(name, phase, state, serves=serves))

    async def _stage(self, name: str, action: Stage) -> None:
        await self.files.before_replacing(name)
        self._record_action(name, "staging", f"staging build {action.build.id}", action)
        try:
            summary = await self._builds.stage(name, action.build, self._apps.get(name))
        except SourceChanged:
            self._tracker.mark_stale(name)
        except StagingError as error:
            self._releases.rejected(name, replace(action.failing, retry=error.retry), str(error), self.now())
        else:
            self._history.staged(name)
            self._record_action(name, "staged", f"build {action.build.id}: {summary}", action)

    def _listen(self, name: str, action: Listen) -> None:
        how = self._listeners.listen(name, action)
        if how is not None:
            self._record(name, "listening", f"listening on {action.address}", how)

    async def _release(self, name: str, action: Release) -> None:
        try:
            await self._release_commands.run(name, action, partial(self._on_phase, name, "starting"))
        except StagingError as error:
            self._releases.rejected(name, action.failing, str(error), self.now())

    async def _start(self, name: str, action: Start) -> None:
        revision = action.revision
        code = self._builds.code(name, revision.build)
        self._builds.mark_served(name, revision.build.id)
        alive = self._instances.of(name)
        self._history.start(name, revision, {i.revision for i in alive})
        serves = action.attempt == 1 and (any(i.ready for i in alive) or self._history.of(name).known_good)
        async with self._slots.slot(goes_on=bool(serves)), self.places.taking_over(revision):
            try:
                listeners = self._listeners.passed(revision, self.canaries.listener(name, revision))
                since = self._restart_before.get(name, float("-inf"))
                place = self.places.of(revision, code)
                program = program_of(revision, code, place.paths, place.given, place.sandbox, action.workers)
                instance = await self._instances.start(program, place.paths, listeners, since=since)
            except CannotStart as error:
                missing = self._builds.missing(name, revision.build.id, of_python=error.of_python)
                damaged = await self._builds.suspect(name, revision.build.id)
                damage = "; its environment is damaged, and is created again" if damaged else ""
                self._releases.rejected(name, action.failing, f"{error}{missing}{damage}", self.now())
                return
        remark = self._instances.remark(name, instance.id)
        if self.canaries.started(name, f"{instance.called} is ready to be tried{remark}", action):
            return
        self._releases.served(name, revision.id)
        action = replace(action, cause=await self._releases.cause_of(name, action))
        self._record_action(name, "ready", f"{instance.in_force}{remark}", action)
        if self._history.served(name, revision.id):
            self._standings.deployed(name)
        self._listeners.succeed(name, revision.addresses)
        self.scaling.awake(name)
        self._wake_all((*self._dependencies.dependents(name), *self._listeners.neighbours(name, *revision.addresses)))

    async def _sleep(self, name: str, action: Sleep) -> None:
        # Asleep from here on: a client that connects while the last requests finish wakes it at once.
        self._history.set_sleep_state(name, SleepState(gate_passed=action.revision))
        self._wakeups.wake(name)
        await self._instances.stop(name, action.instance)
        self._record_action(name, "sleeping", "stopped until a request arrives", action)

    def _on_adopted(self, name: str, pid: int) -> None:
        program = next(live.program for live in self._instances.lives(name) if live.record.pid == pid)
        self._record(name, "adopted", f"{program} {pid} keeps serving", "the daemon started")
        self._listeners.resume(name)
        self._activated(name)

    def _on_client(self, name: str) -> None:
        self._activated(name)
        self._wakeups.wake(name)

    def _activated(self, name: str) -> None:
        self._history.set_sleep_state(name, replace(self._history.of(name).sleep_state, activated_at=self.now()))

    def _serves(self, name: str) -> bool:
        """Return whether an app answers, or would once a client connects."""
        return bool(self._listeners.armed(name)) or any(i.serves for i in self._instances.of(name))

    def _record_action(self, name: str, kind: EventKind, text: str, action: Action) -> None:
        self._record(name, kind, text, action.cause, action.reason)

    def _wake_all(self, names: Iterable[str]) -> None:
        for name in names:
            self._wakeups.wake(name)

    def _on_instance_gone(self, name: str) -> None:
        self._instances.remove_unused_soon(name, self.paths)  # credentials that were replaced stand in it
        self._wake_all(self._dependencies.depends_on(name))

    async def _forget_app(self, name: str, action: ForgetApp) -> None:
        await self._builds.cancel(name)
        for path in (self._paths.app(name), self._paths.scratch(name), self._paths.wakeup_file(name)):
            with contextlib.suppress(OSError):
                await self._removals.remove(path)
        with self._stores.records.lasting():
            self._stores.records.erase(name)
        self._restart_before.pop(name, None)
        self._instances.forget_app(name)
        for part in (self._builds, self._release_commands, self._releases, self._listeners, self._tracker):
            part.forget(name)
        self._history.forget(name)
        self._dependencies.forget(name)
        self._record_action(name, "removed", "removed; its home directory and logs are kept", action)
        self._standings.forget(name)
