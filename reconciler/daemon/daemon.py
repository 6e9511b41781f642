"""The daemon: builds every part, and runs them in one task group."""

import asyncio
import contextlib
import os
import subprocess
import time
from functools import partial
from typing import TYPE_CHECKING

from reconciler.control.socket import Control
from reconciler.convergence.standing_tasks import StandingTasks, survived
from reconciler.convergence.wake_queue import WakeQueue, WakeRoutes
from reconciler.daemon.granting import Worlds, grants_of
from reconciler.daemon.housekeeping import Housekeeping
from reconciler.daemon.internal_errors import InternalErrors
from reconciler.daemon.manifest_loop import ManifestLoop
from reconciler.daemon.network_lists import NetworkLists
from reconciler.daemon.outcomes import Outcomes
from reconciler.daemon.reports import Reports
from reconciler.daemon.secret_files import SecretFiles
from reconciler.daemon.state_directory import StateDirectory
from reconciler.daemon.task_world import task_world
from reconciler.daemon.web_process import WebProcess
from reconciler.daemon.worlds import all_converging, among_worlds, clusters_of, introduce, routed, routing_world
from reconciler.host.credential_users import LocalApps
from reconciler.host.instance_secrets import InstanceSecrets
from reconciler.host.runtime import Runtime
from reconciler.host.staging_settings import package_environments, stager_of
from reconciler.host.stores import Stores
from reconciler.host.world import AppWorld
from reconciler.inspection.redaction import Redactor
from reconciler.linux.followed_paths import FollowedPaths
from reconciler.linux.inotify import Watch
from reconciler.linux.process_identity import boot_id
from reconciler.linux.removals import Removals
from reconciler.manifests.origins import look_once, watched
from reconciler.manifests.persisted import remember_origins
from reconciler.metrics.counters import Counters
from reconciler.metrics.instrumented_world import InstrumentedWorld
from reconciler.planning.subject import HOST, Subject
from reconciler.processes.world import ProcessWorld
from reconciler.services.records import ServiceRecords
from reconciler.services.world import ServiceStores, ServiceWorld
from reconciler.serving.confinements import confinements_of
from reconciler.serving.forkserver.pool import ForkServerPool
from reconciler.serving.instances import Instances
from reconciler.serving.keeper import Keeper
from reconciler.serving.sandbox import todays_sandbox
from reconciler.serving.worker_wakeups import hear_workers, hear_workers_of_before
from reconciler.settings.settings import Drain, Settings
from reconciler.staging.source.last_seen import SourceTracker
from reconciler.staging.source.watches import Debounce, SourceWatches
from reconciler.state.database import Database
from reconciler.state.journal import Journal
from reconciler.state.lock import Lock
from reconciler.state.records import Records
from reconciler.state.revision_history import RevisionHistory
from reconciler.state.schema import state_id
from reconciler.tasks.world import TaskQueues
from reconciler.vault.env_files import EnvFiles
from reconciler.vault.vault import Vault
from reconciler.vault.watched_files import Files

if TYPE_CHECKING:
    from reconciler.daemon.git_origins import GitOrigins


class Daemon:
    """Every part of one running daemon, inside one task group."""

    def __init__(
        self, settings: Settings, database: Database, tasks: StandingTasks, *, lock: Lock, lost: bool = False
    ) -> None:
        self.settings = settings
        records = Records(database)
        service_records = ServiceRecords(database, Vault(database, settings.key))
        self._service_records = service_records
        env_files = EnvFiles(database, service_records.vault)
        self._redactor = Redactor(
            service_records,
            env_files,
            desired=lambda: self.manifests.catalog.apps,
            environ=package_environments(settings, dict(os.environ)),  # of which each access decodes a variable anew
            revisions=lambda app: self._stores.history.of(app).revisions,
            parts=self._given_to_parts,
        )
        self.journal = Journal(database, keep=settings.events_kept, redact=self._redactor.redacted)
        self.internal_errors = InternalErrors(self.journal)
        self._state = StateDirectory(settings.paths.state, lock, self.journal)
        self.reports = Reports()
        self.fork_servers = ForkServerPool(
            settings.paths, idle_s=settings.fork_server_idle_s, answer_s=settings.fork_timeout_s
        )
        self.keeper = Keeper(settings.paths.keeper, patience_s=settings.keeper_patience_s)
        self._page: WebProcess | None = None
        self._tasks = tasks
        self._lost = lost
        self._boot = boot_id()
        self._sandbox = todays_sandbox()
        self._stores = Stores(records=records, journal=self.journal, history=RevisionHistory(records, self._boot))
        self._stager = stager_of(settings)
        self._app_wakeups, self._service_wakeups = WakeQueue(), WakeQueue()
        self._task_wakeups, self._process_wakeups = WakeQueue(), WakeQueue()
        self._tracker = SourceTracker(records, self.journal, self._app_wakeups, tasks)
        self._removals = Removals()
        self._instances = Instances(
            records,
            state_id=state_id(settings.paths.state),
            boot=self._boot,
            sandbox_of=lambda _: self._sandbox,  # today every app has the daemon's rights
            templates=self.fork_servers,
            wakeups=(routes := WakeRoutes(apps=self._app_wakeups, processes=self._process_wakeups)),
            removals=self._removals,
            launched=lambda app, text: self.journal.write(Subject("app", app), "started", text),
        )
        self._instances.confine_by(confinements_of(settings))
        stores = ServiceStores(records=records, service_records=service_records, env_files=env_files)
        self._routing = routing_world(settings, self.journal, self.reports.publish)
        self._services = self._service_world(stores)
        self._apps = self._app_world(service_records)
        self._task_world = task_world(
            settings, self._stores, self._apps.places, TaskQueues(tasks=self._task_wakeups, apps=self._app_wakeups)
        )
        self._instances.users.add(self._task_world.uses)
        self._processes = ProcessWorld(
            settings, self._stores, self._apps, self._instances, boot=self._boot, wakeups=routes, tasks=tasks
        )
        self._counters = Counters(time.monotonic, self._apps.probes.results, self._services.backups.failures)
        counted = InstrumentedWorld(self._apps, self._counters, self._apps.reused_environment)
        self._clusters = clusters_of(
            settings, self._stores, self._apps, self._instances, self._app_wakeups, self._stager, lambda: self.manifests
        )
        self._converging = all_converging(
            *((each, each, each.wakeups) for each in self._clusters),  # before the host: what they say holds it back
            (self._services, self._services, self._service_wakeups),  # first: it says what apps are supplied with
            (self._apps, counted, self._app_wakeups),
            (self._task_world, self._task_world, self._task_wakeups),
            (self._processes, self._processes, self._process_wakeups),
            *among_worlds(self._routing),
            within=(self._state, settings, tasks),
        )
        self._secret_files = SecretFiles(settings, self._services, self._stores, routes, tasks)
        self.manifests = ManifestLoop(settings, self._stores, self._app_wakeups, self._secret_files, self._converging)
        self._lists = NetworkLists(settings, self._instances, self.journal, tasks, self.manifests)
        self.reports.listeners += [
            each.on_report
            for each in (self._services, self._processes, self._task_world, self.manifests, self._counters)
        ]
        self.reports.listeners += [each.on_report for each in self._clusters]
        self.reports.listeners += introduce(self._routing, self._apps, self._clusters, self._app_wakeups)
        first = len(self._clusters)
        self.outcomes = Outcomes(
            self.manifests,
            services=self._converging[first],
            apps=self._converging[first + 1],
            observe=self._apps.observe,
            plan=self._apps.plan,
            tracker=self._tracker,
            secret_files=self._secret_files,
            redact=self.journal.redacted,
        )
        self.reports.listeners += [self.outcomes.on_report, self._redactor.on_report]
        self._git = self._git_origins()

    async def run(self) -> None:
        """Adopt what runs, then begin everything else that lasts as long as the daemon."""
        self._begin()
        self._tasks.keep("answer requests", self._answer_requests)
        self._tasks.keep("serve the page", self._serve_page)
        self._tasks.keep("back up services", self._services.backups.run)
        self._tasks.keep("make requested backups", self._services.requested_backups.run)
        self._tasks.keep("watch the clock", self._task_world.watch_the_clock)
        self._tasks.keep("forget past tasks", self._task_world.past.run)
        for cluster in self._clusters:
            cluster.begin(self._tasks)
        self._tasks.keep("follow the manifests", self._follow_manifests)
        if self._git is not None:
            self._git.begin(self._tasks)
        if self._git is not None or self.settings.paths.git.exists():
            self._tasks.keep("remove what git has left", self._remove_git_leftovers)
        self._tasks.keep("warm up the stager", self._warm_up)
        self._tasks.keep("compile ahead", self._stager.compile_ahead)
        self._notify()
        if self.settings.drain is not None:
            self._tasks.keep("drain the logs", partial(self._drain_logs, self.settings.drain))

    async def _follow_manifests(self) -> None:
        paths = FollowedPaths(
            Watch(asyncio.get_running_loop().call_soon_threadsafe, left_out=str(self.settings.paths.state))
        )
        debounce = Debounce(quiet_s=self.settings.quiet_s, longest_s=self.settings.longest_s)
        with contextlib.ExitStack() as stack:
            indexes = {} if self._git is None else self._git.indexes
            origins = watched(self.settings, paths, self.manifests.look_now, indexes)
            for origin in origins:
                stack.enter_context(contextlib.closing(origin))
            trees = stack.enter_context(contextlib.closing(SourceWatches(paths, self._tracker, debounce)))
            files = Files(paths, self._secret_files.suspect, self.settings.quiet_s)
            stack.enter_context(contextlib.closing(files))
            look = partial(trees.look_now_and_then, self.settings.resync_s)
            stack.callback(self._tasks.keep("look at the sources", look).cancel)
            await self.manifests.run(origins, trees, files)

    async def _remove_git_leftovers(self) -> None:
        from reconciler.daemon.git_leftovers import GitLeftovers  # most hosts have no repository

        await GitLeftovers(self.settings, self.manifests, self._stores.records, self.journal).run()

    async def _answer_requests(self) -> None:
        worlds = Worlds(self._apps, self._services, self._task_world, self._processes, self._clusters)
        grants = grants_of(
            self.manifests, self._stores, worlds, self.outcomes, counted=self._counters.as_json, origins=self._git
        )
        with contextlib.closing(Control(self.settings.paths.control, grants.grant)) as control:
            await control.open()
            await asyncio.Event().wait()

    async def _serve_page(self) -> None:
        with contextlib.closing(WebProcess(self.settings, partial(self.journal.write, HOST, "daemon"))) as web:
            web.open()
            self._page = web
            await asyncio.Event().wait()

    @property
    def page_url(self) -> str | None:
        """The URL of the page for a browser, None while it has no TCP address."""
        return self._page.url if self._page is not None else None

    async def once(self) -> frozenset[str]:
        """Adopt what runs and look at the manifests a single time; return every app there is work for."""
        self._begin()
        if self._git is not None:
            await self._git.once()
        await self.manifests.follow(await asyncio.to_thread(look_once, self.settings))
        if self._git is not None and self._git.sources.followers:
            await self._git.sources.once()
            await self.manifests.follow(await asyncio.to_thread(look_once, self.settings))
        for path in {path for path, _ in self._secret_files.follow(self.manifests.catalog)}:
            self._secret_files.suspect(path)
        return self._apps.names() | self.manifests.catalog.apps.keys()

    async def end_staging(self) -> None:
        """End every installation, and record why what was retried had failed; call it once every task has ended."""
        await self._apps.end_staging()

    def problem(self) -> str:
        """Return what keeps this host from following its manifests just now, empty when nothing does."""
        database = self.journal.problem and f"cannot write to the state database: {self.journal.problem}"
        return self._state.problem or self.manifests.problem or database

    async def stop_apps(self) -> None:
        """End every instance for good, each within its own stop timeout; nothing converges any more."""
        for each in self._converging:
            await each.controller.wait()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._processes.stop_all())
            tasks.create_task(self._task_world.end_all())
            for app in self._instances.apps():
                for instance, _ in tuple(self._instances.processes(app)):
                    tasks.create_task(self._instances.stop(app, instance.id))
        self._lists.clear()

    def _git_origins(self) -> "GitOrigins | None":
        if not self.settings.origins and not self.settings.repositories:
            remember_origins(self._stores.records, ())
            return None
        from reconciler.daemon.git_origins import GitOrigins  # most hosts have no repository

        return GitOrigins(self.settings, self._stores, self.manifests, self.outcomes, self._service_records.names)

    def _service_world(self, stores: ServiceStores) -> ServiceWorld:
        return ServiceWorld(
            self.settings,
            stores,
            self.journal,
            boot=self._boot,
            wakeups=self._service_wakeups,
            app_wakeups=self._app_wakeups,
            apps=LocalApps(self._instances, self._stores.history),
            publish=self.reports.publish,
        )

    def _app_world(self, records: ServiceRecords) -> AppWorld:
        secrets = InstanceSecrets(records, self._services, self._stores, self._instances, give=self._redactor.give)
        secrets.routed = lambda app: routed(self.manifests.catalog.apps.get(app), self._routing)
        return AppWorld(
            self.settings,
            self._stores,
            Runtime(
                wakeups=self._app_wakeups, publish=self.reports.publish, tasks=self._tasks, removals=self._removals
            ),
            stager=self._stager,
            tracker=self._tracker,
            instances=self._instances,
            keeper=self.keeper,
            secret_source=secrets,
        )

    def _begin(self) -> None:
        """Adopt what runs, and start what runs beside convergence."""
        with survived("follow the tasks that run"):
            self._task_world.restore()
        ports = self._apps.restore()
        self._processes.restored()
        if self._lost:
            self.journal.write(HOST, "daemon", "the state database was lost; the process table says what runs")
        self.manifests.keep_ports(ports)
        Housekeeping(
            self.settings,
            self._stores,
            stager=self._stager,
            instances=self._instances,
            fork_servers=self.fork_servers,
            services=self._services,
            given=self._given_to_parts,
            apps=self._apps,
        ).begin(self._tasks, self.reports)
        self._tasks.keep("watch the state directory", self._state.watch)
        self._tasks.keep("hear workers", partial(hear_workers, self.settings.paths.wakeups, self._instances.on_wakeup))
        hear_workers_of_before(self.settings.paths.earlier_wakeup_pipe, self._instances)

    def _given_to_parts(self, app: str | None = None) -> frozenset[str]:
        """Return the ids of the secrets that processes and tasks of an app, or of all, took from files of their own."""
        return self._processes.given(app) | self._task_world.variables.given.of(app)

    def _notify(self) -> None:
        """Notify every target of the settings of failures and recoveries from now on."""
        if self.settings.notifications:
            from reconciler.daemon.notifying import notify  # most hosts have no target

            listeners = [
                self.reports.listeners,
                self._task_world.reports.listeners,
                *([self._git.listeners] if self._git is not None else []),
            ]
            notify(
                self.settings, self._stores, self._tasks, listeners, redact=self._redactor.redacted,
                host_failure=self.problem,
            )  # fmt: skip

    async def _drain_logs(self, drain: Drain) -> None:
        from reconciler.daemon.drains.of_host import drain_logs  # most hosts drain no logs

        await drain_logs(self.settings, drain, self._instances, self._redactor, self.journal)

    async def _warm_up(self) -> None:
        with contextlib.suppress(OSError, subprocess.SubprocessError):  # the first build fails with the same error
            await self._stager.warm_up()
