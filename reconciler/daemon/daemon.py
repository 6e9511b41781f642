"""The daemon: builds every part, and connects what wakes to what is woken."""

import asyncio
import contextlib
import os
import random
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from reconciler.control.requests import OperatorRequests
from reconciler.control.socket import Control
from reconciler.convergence.controller import Backoff, Controller
from reconciler.convergence.world import Report
from reconciler.daemon.housekeeping import Housekeeping
from reconciler.daemon.web_process import WebProcess
from reconciler.host.assembly import package_environ, rules_of, stager_of
from reconciler.host.instance_secrets import InstanceSecrets
from reconciler.host.world import AppWorld, OperatorRequest
from reconciler.inspection.redaction import Redactor
from reconciler.linux.inotify import Watch, is_limit
from reconciler.linux.processes import boot_id
from reconciler.manifests import persisted
from reconciler.manifests.catalog import Catalog, DirectoryContents, DirectoryUnreadable, review
from reconciler.manifests.directory import Directory
from reconciler.manifests.reader import read_directory
from reconciler.metrics.counters import Counters
from reconciler.metrics.instrumented_world import InstrumentedWorld
from reconciler.planning.apps.observed import Observed
from reconciler.planning.subject import HOST, Subject
from reconciler.services.records import ServiceRecords
from reconciler.services.types.user_provided.files import files_of
from reconciler.services.world import ServiceWorld
from reconciler.serving.forkserver.pool import ForkServerPool
from reconciler.serving.instances import Instances
from reconciler.serving.keeper import Keeper
from reconciler.serving.wakeup_pipe import drain, open_wakeup_pipe
from reconciler.settings.settings import Settings
from reconciler.staging.source.last_seen import SourceTracker
from reconciler.staging.source.watches import Settling, Trees
from reconciler.state.database import Database
from reconciler.state.journal import Journal
from reconciler.state.records import Records
from reconciler.state.revision_history import RevisionHistory
from reconciler.state.schema import state_id
from reconciler.vault.env_files import EnvFiles
from reconciler.vault.vault import Vault
from reconciler.vault.watched_files import Files, Use

_AGAIN_S = 5.0


class Daemon:
    """Every part of one running daemon, inside one task group.

    `report_listeners` are called with every report on an app or a service, and with None once it is gone for good.
    """

    def __init__(self, settings: Settings, database: Database, tasks: asyncio.TaskGroup, *, lost: bool = False) -> None:
        self.settings = settings
        self.records = Records(database)
        service_records = ServiceRecords(database, Vault(database, settings.key))
        env_files = EnvFiles(database, service_records.vault)
        self._redactor = Redactor(
            service_records,
            env_files,
            desired=lambda: self.catalog.apps,
            environ=lambda: package_environ(settings, os.environ),
        )
        self.journal = Journal(database, keep=settings.events_kept, redact=self._redactor.redacted)
        self.report_listeners: list[Callable[[Subject, Report | None], None]] = []
        self._tasks = tasks
        self._lost = lost
        boot = boot_id()
        self._tracker = SourceTracker(self.records)
        self._history = RevisionHistory(self.records, boot)
        self.fork_servers = ForkServerPool(
            log=settings.paths.fork_servers_log, idle_s=settings.fork_server_idle_s, answer_s=settings.fork_timeout_s
        )
        self._instances = Instances(
            self.records,
            state_id=state_id(settings.paths.state),
            boot=boot,
            templates=self.fork_servers,
            changed=self._wake,
            launched=self._note_launch,
        )
        self.keeper = Keeper(settings.paths.keeper, patience_s=settings.keeper_patience_s)
        self.services = ServiceWorld(
            settings,
            self.records,
            service_records,
            self.journal,
            boot=boot,
            env_files=env_files,
            apps=self,
            wake=self._wake_service,
            wake_app=self._wake,
            publish=self._publish,
        )
        secret_source = InstanceSecrets(
            service_records, inputs=self.services.inputs, use=self.services.use, told=self._note_secrets
        )
        self._stager = stager_of(settings)
        self._host = AppWorld(
            settings,
            self.records,
            self.journal,
            stager=self._stager,
            tracker=self._tracker,
            instances=self._instances,
            keeper=self.keeper,
            history=self._history,
            secret_source=secret_source,
            tasks=tasks,
            woken=self._wake,
            told=self._on_report,
        )
        self._housekeeping = Housekeeping(
            settings,
            self.journal,
            stager=self._stager,
            instances=self._instances,
            templates=self.fork_servers,
            places=self._host.paths,
            forget_secrets=lambda: self.services.rotation.forget_secrets(self._secrets_of_old()),
        )
        self.counters = Counters(time.monotonic, self._host.probes)
        self.report_listeners.append(self.counters.on_report)
        self._controller = Controller(
            InstrumentedWorld(self._host, self.counters, self._because),
            tasks,
            backoff=Backoff(first_s=settings.retry_first_s, cap_s=settings.retry_cap_s),
            resync_s=settings.resync_s,
            noise=random.Random(),
        )
        self._services = Controller(
            self.services,
            tasks,
            backoff=Backoff(first_s=settings.retry_first_s, cap_s=settings.retry_cap_s),
            resync_s=settings.resync_s,
            noise=random.Random(),
        )
        self._look_now = asyncio.Event()
        self._seen: DirectoryContents | DirectoryUnreadable | None = None
        self.looked = asyncio.Event()
        self._refreshing: dict[str, bool] = {}
        self._rules = rules_of(settings)
        self.catalog = persisted.restored(self.records, self._rules)
        self._unreadable = persisted.apps_of_unreadable(self.records, self.catalog)
        self._written, self._unwritten = self.catalog, False
        self._hindered = self._unwatched = ""
        self._unseen = False
        self._freed: set[str] = set()

    async def run(self) -> None:
        """Take back what runs, then follow the manifests until cancelled."""
        self._prepare()
        watch = Watch(asyncio.get_running_loop().call_soon_threadsafe)
        settling = Settling(quiet_s=self.settings.quiet_s, longest_s=self.settings.longest_s)
        directory = Directory(str(self.settings.manifests), watch, self._look_now.set)
        trees = Trees(watch, self._suspect, settling)
        self._tasks.create_task(self._warm_up(), name="warm up the stager")
        self._announce()
        self._tasks.create_task(self._stager.compile_ahead(), name="compile ahead")
        files = Files(watch, self._suspect_file, self.settings.quiet_s)
        control = Control(self.settings.paths.control, OperatorRequests(self).grant)
        await control.open()
        door = WebProcess(self.settings, lambda text, cause: self.journal.write(HOST, "daemon", text, cause))
        door.open()
        with (
            contextlib.closing(directory),
            contextlib.closing(trees),
            contextlib.closing(control),
            contextlib.closing(door),
            contextlib.closing(files),
        ):
            while True:
                self._look_now.clear()
                with self._surviving("look at the manifests"):
                    seen = await directory.look()
                    self._unseen = isinstance(seen, DirectoryUnreadable)
                    await self._follow(seen)
                    await files.follow(self._uses_of_files())
                    await trees.follow(
                        {n: app.source.path for n, app in self.catalog.apps.items() if not app.source.pinned}
                    )
                    self._tell_unwatched([directory.problem, *trees.problems().values()])
                if not self._look_now.is_set():
                    self.looked.set()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._seconds_to_next_look()):
                        await self._look_now.wait()

    async def once(self) -> frozenset[str]:
        """Take back what runs and look at the manifests a single time; returns every name there is work for."""
        self._prepare()
        await self._follow(await asyncio.to_thread(read_directory, str(self.settings.manifests)))
        for path in {path for path, _ in self._uses_of_files()}:
            self._suspect_file(path)
        return self._host.names() | self.catalog.apps.keys()

    def request(self, name: str, wish: OperatorRequest, text: str, who: str) -> None:
        """Do what an operator asks for once."""
        self._host.request(name, wish)
        self.journal.write(Subject("app", name), "request", text, f"asked for by {who}")
        self._controller.wake(name)

    def rotate(self, service: str, app: str | None, who: str) -> tuple[str, ...]:
        """Have new credentials for a service take the place of those in use; returns the apps they are of."""
        apps = self.services.rotation.rotate(service, app)
        if apps:
            text = f"new credentials for {', '.join(apps)}"
            self.journal.write(Subject("service", service), "request", text, f"asked for by {who}")
        return apps

    def rekey(self, who: str) -> int:
        """Encrypt what is stored with a new key; returns how many secrets there are. Raises Sealed."""
        count = self.services.rotation.rekey()
        self.journal.write(HOST, "secrets", f"{count} secrets are encrypted with a new key", f"asked for by {who}")
        return count

    async def end_staging(self) -> None:
        """End the builds that nobody waits for any more."""
        await self._host.end_staging()

    def figures(self) -> dict[str, Any]:
        """What was done since this daemon began, in numbers."""
        return self.counters.as_json()

    def observed(self, name: str) -> Observed:
        """What is true of an app right now."""
        return self._host.observe(name)

    def look_now(self) -> None:
        """Look at the manifests without waiting for a change; `looked` is set once that was done."""
        self.looked.clear()
        self._look_now.set()

    def trouble(self) -> str:
        """What keeps this host from following its manifests just now, empty when nothing does."""
        unseen = f"cannot read the manifests in {self.settings.manifests}" if self._unseen else ""
        database = self.journal.problem and f"cannot write to the state database: {self.journal.problem}"
        return self._hindered or unseen or database

    async def stop_apps(self) -> None:
        """End every instance for good, each within its own stop timeout; nothing converges any more."""
        await self._controller.wait()
        async with asyncio.TaskGroup() as tasks:
            for app in self._instances.apps():
                for instance, _ in tuple(self._instances.processes(app)):
                    tasks.create_task(self._instances.stop(app, instance.id))

    def _announce(self) -> None:
        """From now on, tell whoever the settings name of trouble and its end."""
        if not self.settings.notifications:
            return
        # What mails and posts is loaded only where somebody is told: most hosts tell nobody.
        from reconciler.notifications.notifier import Notifier, Pace

        pace = Pace(every_s=self.settings.notify_every_s, settle_s=self.settings.notify_delay_s)
        for target in self.settings.notifications:
            notifier = Notifier(
                target,
                self.records,
                host=socket.gethostname(),
                pace=pace,
                mask=self._redactor.redacted,
                trouble=self.trouble,
                failed=partial(self.journal.write, HOST, "daemon"),
            )
            self.report_listeners.append(notifier.on_report)
            self._tasks.create_task(notifier.run(), name=f"notify {target}")

    def _prepare(self) -> None:
        ports = self._host.restore()
        if self._lost:
            self.journal.write(HOST, "daemon", "the state database was lost; what runs was found in the process table")
            self.catalog = replace(self.catalog, leases={**ports, **self.catalog.leases})
        self._housekeeping.begin(self._tasks)
        doorbell = open_wakeup_pipe(self.settings.paths.wakeup_pipe)
        asyncio.get_running_loop().add_reader(doorbell, drain, doorbell, self._on_wakeup)

    async def _follow(self, seen: DirectoryContents | DirectoryUnreadable) -> None:
        if seen == self._seen and self.catalog.is_at_rest and not self._freed and not self._unwritten:
            return
        self._seen = seen
        before = self.catalog
        while self._freed:
            before = before.without_lease(self._freed.pop())
        # In a thread: parsing thousands of files takes a while.
        self.catalog = await asyncio.to_thread(review, before, seen, self._rules, time.monotonic())
        self._remember()
        self._tell_problems(before, self.catalog)
        self._unreadable = persisted.still_unreadable(self._unreadable, self.catalog)
        self._host.follow(self.catalog.apps)
        stirred = self.services.follow(self.catalog.services, self.catalog.apps)
        self._services.replace(self.catalog.services, also=self.services.names())
        for name in stirred:
            self._services.wake(name)
        self._controller.replace(self.catalog.apps, also=self._host.names() - self._unreadable.keys())

    def _remember(self) -> None:
        """Write down what is asked; what cannot be written is asked all the same, and written soon."""
        try:
            persisted.remember(self.records, self._written, self.catalog, self.settings.manifests)
        except sqlite3.Error as error:
            if not self._unwritten:
                text = f"cannot write down what the manifests ask for: {error}"
                self.journal.write(
                    HOST, "daemon", text, "it is done all the same, and written down as soon as it can be"
                )
            self._unwritten = True
        else:
            self._written, self._unwritten = self.catalog, False

    @contextlib.contextmanager
    def _surviving(self, what: str) -> Iterator[None]:
        """Tell what this host cannot do just now (no memory, thread or descriptor left), and try again soon."""
        try:
            yield
            self._hindered = ""
        except (OSError, RuntimeError, sqlite3.Error, MemoryError) as error:
            before, self._hindered = self._hindered, f"cannot {what}: {error}"
            if self._hindered != before:
                self.journal.write(HOST, "daemon", self._hindered, f"again every {_AGAIN_S:g} s")

    def _tell_unwatched(self, problems: list[str]) -> None:
        """Say once that changes are found by looking, because the kernel watches no more for us."""
        problem = next(filter(is_limit, problems), "")
        if problem and not self._unwatched:
            self.journal.write(HOST, "daemon", problem, f"until then changes are looked for every {_AGAIN_S:g} s")
        self._unwatched = problem

    def _wake(self, name: str) -> None:
        """Something about an app changed. One whose manifest cannot be understood is left alone."""
        if name not in self._unreadable:
            self._controller.wake(name)

    def _wake_service(self, name: str) -> None:
        self._services.wake(name)

    def revisions_alive(self, app: str) -> frozenset[str]:
        """Return the ids of the revisions that an instance of the app runs."""
        return frozenset(i.revision for i in self._instances.of(app))

    def rollback_grants(self, app: str) -> frozenset[str]:
        """Return the grants that a revision uses to which the app may go back."""
        learnt = self._history.of(app)
        pinned = () if learnt.override is None or learnt.override.revision is None else (learnt.override.revision,)
        return frozenset(bound.grant for back in (*learnt.known_good[:1], *pinned) for bound in back.bindings)

    def _secrets_of_old(self) -> frozenset[str]:
        """The ids of the secrets that revisions name to which an app may go back."""
        learnt = [self._history.of(name) for name in self._history.names()]
        pinned = [
            one.override.revision for one in learnt if one.override is not None and one.override.revision is not None
        ]
        return frozenset(
            kept
            for back in (*(known_good for one in learnt for known_good in one.known_good), *pinned)
            for kept in (*back.env_secrets.values(), *(bound.credentials for bound in back.bindings))
        )

    def _publish(self, subject: Subject, report: Report | None) -> None:
        for tell in self.report_listeners:
            tell(subject, report)

    def _note_secrets(self, app: str, text: str) -> None:
        with contextlib.suppress(sqlite3.Error):  # a full disk costs the journal a line, never an app its start
            self.journal.write(Subject("app", app), "secrets", text)

    def _uses_of_files(self) -> frozenset[Use]:
        """Every file that an app's variables or a service's credentials come from, and which of those."""
        of_apps = (use for app in self.catalog.apps.values() for use in self.services.env_files.uses(app))
        of_services = ((path, f"service {s.name}") for s in self.catalog.services.values() for path in files_of(s))
        return frozenset((*of_apps, *of_services))

    def _suspect_file(self, path: str) -> None:
        """A file with secrets may say something else now."""
        for service in self.catalog.services.values():
            if path in files_of(service):
                self.services.rotation.rebind(service.name, f"{path} may have changed")
        for app in self.catalog.apps.values():
            if path in self.services.env_files.paths(app):
                self._tasks.create_task(self._read_env(app.name), name=f"read the variables of {app.name}")

    async def _read_env(self, name: str) -> None:
        app = self.catalog.apps.get(name)
        if app is None:
            return
        try:
            changed = await self.services.env_files.refresh(app)
        except sqlite3.Error as error:
            self._note_secrets(name, f"cannot keep what its files say: {error}")
            return
        if changed:
            _, missing, stale = self.services.env_files.of(app)
            self._note_secrets(name, "; ".join((*missing, *stale)) or "the files of its variables were read anew")
            self._wake(name)

    def _tell_problems(self, before: Catalog, after: Catalog) -> None:
        if after.notice and after.notice != before.notice:
            self.journal.write(HOST, "manifest", after.notice)
        for file, entry in after.files.items():
            known = before.files[file].problems if file in before.files else ()
            stays = "its last good content stays in force" if entry.names else "nothing of it is in force"
            for problem in entry.problems:
                if problem not in known:
                    self.journal.write(HOST, "manifest", f"refused: {problem}", stays)

    def _seconds_to_next_look(self) -> float:
        at, longest_s = self.catalog.recheck_at, self.settings.rescan_s
        if self._unwritten or self._hindered or self._unwatched or self._unseen:
            longest_s = min(longest_s, _AGAIN_S)
        return longest_s if at is None else min(longest_s, max(0.0, at - time.monotonic()))

    def _on_wakeup(self, name: str) -> None:
        """A worker has something to say."""
        self._instances.on_wakeup(name)
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
            try:
                changed = await self._tracker.refresh(name)
            except (OSError, RuntimeError):  # no descriptor, no thread: the app's own task tries again, and says so
                self._tracker.doubt(name)
                self._wake(name)
                changed = False
            if changed:
                self.journal.write(Subject("app", name), "source", "its source changed")
                self._wake(name)
            again = self._refreshing[name]
        del self._refreshing[name]

    def _because(self, name: str, build: str) -> str:
        """Why a finished build has the environment it has."""
        staged = self._stager.finished(name, build)
        return "" if staged is None else staged.because

    def _note_launch(self, name: str, what: str) -> None:
        self.journal.write(Subject("app", name), "started", what)

    def _on_report(self, name: str, report: Report | None) -> None:
        self.services.on_app_report(name)
        if report is None:
            self._freed.add(name)
            self._look_now.set()
        for tell in self.report_listeners:
            tell(Subject("app", name), report)

    async def _warm_up(self) -> None:
        with contextlib.suppress(OSError, subprocess.SubprocessError):  # whatever it is, the first build will say so
            await self._stager.warm_up()
