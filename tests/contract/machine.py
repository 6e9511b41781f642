"""The real Host in this process, over a state directory that outlives it: what a daemon is, without its loop."""

import asyncio
import functools
import random
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ParamSpec

from reconciler.convergence.backoff import Backoff
from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.convergence.wake_queue import WakeQueue
from reconciler.convergence.world import Report
from reconciler.host.runtime import Runtime
from reconciler.host.staging_settings import stager_of
from reconciler.host.stores import Stores
from reconciler.host.world import AppWorld
from reconciler.linux.process_identity import boot_id
from reconciler.linux.removals import Removals
from reconciler.planning.address import Address
from reconciler.planning.apps.actions import Action, Listen, ReadSource, Reap, Start
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import ExternalInputs, Failure, Instance, Observed
from reconciler.planning.apps.revision import Revision, Server, Source
from reconciler.planning.processes.process import Process
from reconciler.planning.schedules.schedule import Schedule
from reconciler.planning.services.service import Service
from reconciler.serving.confinements import confinements_of
from reconciler.serving.forkserver.pool import ForkServerPool
from reconciler.serving.instances import Instances
from reconciler.serving.keeper import Keeper
from reconciler.serving.programs.gunicorn import InjectedEnv
from reconciler.serving.sandbox import Sandbox, todays_sandbox
from reconciler.serving.worker_wakeups import hear_workers
from reconciler.settings.settings import Settings
from reconciler.staging.source.last_seen import SourceTracker
from reconciler.state.database import Database
from reconciler.state.journal import Journal
from reconciler.state.records import Records
from reconciler.state.revision_history import RevisionHistory
from reconciler.state.schema import open_database, state_id
from tests.support.interpreters import acquainted
from tests.support.ports import a_port
from tests.support.site import Site
from tests.world import address_of, after, stage_of

P = ParamSpec("P")


def on_the_loop(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run an asynchronous test to its end."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def story() -> None:
            await test(*args, **kwargs)

        asyncio.run(story())

    return run


def start_of(revision: Revision, workers: int = 1) -> Start:
    """To start a revision that never failed yet."""
    failing = Failure(revision=revision.id, kind="rejected", count=1, last_at=0.0, reason="")
    return Start(revision=revision, workers=workers, failing=failing, cause="the test says so")


def burial(machine: "Machine", name: str = "blog", **different: Any) -> Reap:
    """To bury the only instance of an app, which crashed for the first time."""
    gone = machine.only(name)
    trouble = Failure(revision=gone.revision, kind="crashed", count=1, last_at=0.0, reason=gone.end or "")
    return Reap(instance=gone.id, failure=replace(trouble, **different), cause="the test says so")


class NoKeeper(Keeper):
    """A host where none can be started."""

    def take(self) -> list[tuple[str, Address, socket.socket]]:
        return []

    def keep(self, app: str, address: Address, number: int) -> None: ...


class Unsupplied:
    """A host without services and secrets."""

    def inputs(self, app: App | None, name: str) -> ExternalInputs:
        return ExternalInputs()

    def injected(self, revision: Revision, directory: Path) -> InjectedEnv:
        return InjectedEnv()

    def of_part(self, app: str, part: Process | Schedule) -> tuple[Mapping[str, str], tuple[str, ...], tuple[str, ...]]:
        return {}, (), ()

    def values_of(self, ids: Mapping[str, str]) -> dict[str, str]:
        return dict(ids)

    def doubt(self, app: str) -> None: ...

    def rename_use(self, app: str, former: str, current: str) -> None: ...


class RecordedWakeups(WakeQueue):
    """The names that were woken, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def wake(self, name: str) -> None:
        self.names.append(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What manifests ask for, without services."""

    apps: Mapping[str, App]
    services: Mapping[str, Service] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Machine:
    """One life of a Host. `boot` is the boot it believes to be in; with `kept`, its listeners are."""

    site: Site
    kept: bool = False
    boot: str = field(default_factory=boot_id)
    wakeups: RecordedWakeups = field(default_factory=RecordedWakeups)
    sandbox: Sandbox = field(default_factory=todays_sandbox)
    launched: list[tuple[str, str]] = field(default_factory=list)
    removals: Removals = field(default_factory=Removals)
    told: list[tuple[str, Report | None]] = field(default_factory=list)
    database: Database = field(init=False)
    records: Records = field(init=False)
    templates: ForkServerPool = field(init=False)
    instances: Instances = field(init=False)
    tracker: SourceTracker = field(init=False)
    host: AppWorld = field(init=False)
    keeper: Keeper = field(init=False)
    listening: "asyncio.Task[None]" = field(init=False)

    def __post_init__(self) -> None:
        settings = Settings(manifests=self.site.manifests, paths=self.site.paths)
        self.database = open_database(settings.paths.database)
        self.records = Records(self.database)
        stores = Stores(
            records=self.records,
            history=RevisionHistory(self.records, self.boot),
            journal=Journal(self.database),
        )
        # only an app with a health path has tasks
        tasks = StandingTasks(asyncio.TaskGroup(), backoff=Backoff(), noise=random.Random(1))
        self.tracker = SourceTracker(self.records, stores.journal, self.wakeups, tasks)
        self.templates = ForkServerPool(settings.paths, idle_s=settings.fork_server_idle_s, answer_s=20)
        self.instances = Instances(
            self.records,
            state_id=state_id(settings.paths.state),
            boot=self.boot,
            sandbox_of=lambda _: self.sandbox,
            templates=self.templates,
            wakeups=self.wakeups,
            removals=self.removals,
            launched=lambda name, what: self.launched.append((name, what)),
        )
        self.instances.confinements = confinements_of(settings)
        self.keeper = (Keeper if self.kept else NoKeeper)(settings.paths.keeper, patience_s=60)
        self.host = AppWorld(
            settings,
            stores,
            Runtime(
                wakeups=self.wakeups,
                publish=lambda subject, report: self.told.append((subject.name, report)),
                tasks=tasks,
                removals=self.removals,
            ),
            stager=acquainted(stager_of(settings)),
            tracker=self.tracker,
            instances=self.instances,
            keeper=self.keeper,
            secret_source=Unsupplied(),
        )
        self.host.restore()
        heard = hear_workers(settings.paths.wakeups, self.instances.on_wakeup)
        self.listening = asyncio.get_running_loop().create_task(heard)

    def app(self, name: str = "blog", **different: Any) -> App:
        """An app whose source is there."""
        source = self.site.source(name)
        asked = App(
            name=name,
            manifest=f"{name}.yaml",
            source=Source(path=str(source)),
            address=Address(host="127.0.0.1", port=a_port()),
            server=Server(start_timeout_s=30, stop_timeout_s=10),
        )
        return replace(asked, **different)

    def follow(self, *apps: App) -> None:
        """Have the host know these apps, and no others."""
        self.host.follow(Desired(apps={app.name: app for app in apps}))

    def seen(self, name: str = "blog") -> Observed:
        return self.host.observe(name)

    def content(self, name: str = "blog") -> str:
        look = self.seen(name).source
        assert look is not None
        return look.content

    def only(self, name: str = "blog") -> Instance:
        (instance,) = self.seen(name).instances
        return instance

    async def do(self, action: Action, name: str = "blog") -> None:
        await self.host.do(name, action)

    async def staged(self, app: App) -> None:
        """Everything that comes before a start."""
        await self.do(
            ReadSource(source=app.source, source_generation=self.seen(app.name).source_generation, cause="test"),
            app.name,
        )
        await self.do(stage_of(app.build(self.content(app.name)), "test"), app.name)
        await self.do(Listen(address=address_of(app), cause="test"), app.name)

    async def fork_servers(self) -> None:
        """Wait until those that were begun take orders: the next instance is forked."""
        for server in list(self.templates._servers.values()):
            await server._greeted.wait()

    async def started(self, app: App) -> Instance:
        """And the start."""
        await self.staged(app)
        await self.do(start_of(app.revision(self.content(app.name)), app.workers), app.name)
        return self.only(app.name)

    async def holds(self, action: Action, name: str = "blog", **different: Any) -> None:
        """Do an action; what is observed afterwards is what `after` says of it."""
        before, since = self.seen(name), self.host.now()
        await self.do(action, name)
        self.is_after(before, action, since, name, **different)

    def is_after(self, before: Observed, action: Action, since: float, name: str = "blog", **different: Any) -> None:
        """What is observed now is what `after` says of `action` done on `before`; times lie between `since` and now."""
        now, found = self.host.now(), self.seen(name)
        known = {i.id for i in before.instances}
        newborn = next((i for i in found.instances if i.id not in known), None)
        if newborn is not None:
            different |= {"newborn": newborn.id, "pid": newborn.pid}
        expected = after(before, action, now, **different)
        for instance in found.instances:
            assert instance.id in known or since <= instance.started_at <= now
        times = {i.id: i.started_at for i in found.instances}
        expected = replace(
            expected,
            instances=tuple(replace(i, started_at=times.get(i.id, i.started_at)) for i in expected.instances),
        )
        now_ready = {i.id: i.ready_at for i in found.instances if i.ready_at is not None}
        expected = replace(
            expected,
            instances=tuple(
                i if i.ready_at is None else replace(i, ready_at=now_ready.get(i.id)) for i in expected.instances
            ),
            failures=tuple(
                replace(trouble, last_at=known_trouble.last_at)
                for trouble, known_trouble in zip(expected.failures, found.failures, strict=True)
            ),
            unserved_since=None if expected.unserved_since is None else found.unserved_since,
        )
        assert found == expected

    def die(self) -> None:
        """What the kernel does to a daemon that is killed: its descriptors are closed, nothing else."""
        self.listening.cancel()
        for name in self.instances.apps():
            for _, process in list(self.instances.processes(name)):
                process.forget()
        self.templates.close()
        self.keeper.close()
        self.host.close_listeners()
        self.database.close()


@contextmanager
def a_life(site: Site, **different: Any) -> Iterator[Machine]:
    """A Host from its start to its sudden end."""
    machine = Machine(site=site, **different)
    try:
        yield machine
    finally:
        machine.die()
