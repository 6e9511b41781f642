"""The instances of this host: started, recognised after the daemon's own death, scaled, stopped, reaped.

An instance is on record before its process exists, so that whatever instruction the daemon dies at, the next one finds
either a record to finish or a marked process to own. Nothing here decides; it only makes an action true.
"""

import asyncio
import contextlib
import json
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

from reconciler.convergence.standing_tasks import survived
from reconciler.convergence.wake_queue import WakeQueue
from reconciler.linux.oom import OomKillCounter
from reconciler.linux.processes import KILLED, Command, Process, start_ticks
from reconciler.linux.removals import Removals
from reconciler.planning.address import Address
from reconciler.planning.apps.observed import Instance
from reconciler.serving import failed_start, gate_figures_reader, logs, worker_signals
from reconciler.serving.adoption import Adoption, end_strays, on_record_or_marked, restored, with_process
from reconciler.serving.build_users import BuildUsers
from reconciler.serving.fork_or_exec import launch
from reconciler.serving.forkserver.pool import ForkServerPool
from reconciler.serving.instance_directories import keep_only
from reconciler.serving.leftovers import Leftovers
from reconciler.serving.live_instance import CannotStart, LiveInstance
from reconciler.serving.marks import RECORD_MARK, Identity, marked
from reconciler.serving.programs.gunicorn import InstancePaths
from reconciler.serving.programs.program import Program, StaysAlive, WorkersReady
from reconciler.serving.python_failures import depends_on_python
from reconciler.serving.sandbox import SANDBOX_VARIABLE, Sandbox
from reconciler.state.records import NO_ADDRESS, InstanceRecord, Records

_SECOND_LOOK_S = 1.0
_KILL_MARGIN_S = 2.0


class Instances:
    """Every instance of this state directory, by app and id. Wakes an app when an instance of it changes.

    `launched` is called with an app's name and a sentence that says what was started, and how. `sandbox_of`
    decides the rights of every process of an app, and is asked by what creates a file or a directory for one.
    `users` are those of builds beside instances. `unadopted` are the records, as stored and as
    completed, of instances that could not be adopted yet, by id.
    """

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        records: Records,
        *,
        state_id: str,
        boot: str,
        sandbox_of: Callable[[str], Sandbox],
        templates: ForkServerPool,
        wakeups: WakeQueue,
        removals: Removals,
        launched: Callable[[str, str], None],
    ) -> None:
        self.sandbox_of = sandbox_of
        self._records = records
        self._fork_servers = templates
        self._on_launch = launched
        self._state_id = state_id
        self._boot = boot
        self._wakeups = wakeups
        self._removals = removals
        self._oom_kills = OomKillCounter()
        self._leftovers = Leftovers(state_id, removals)
        self._apps: dict[str, dict[str, LiveInstance]] = {}
        self._ended: set[str] = set()
        self.users = BuildUsers()
        self.unadopted: dict[str, tuple[InstanceRecord, InstanceRecord]] = {}

    def apps(self) -> frozenset[str]:
        """Return the apps that have an instance on record."""
        return frozenset(name for name, lives in self._apps.items() if lives)

    def take_ended(self) -> frozenset[str]:
        """Return the apps of which an instance has ended since the last call."""
        ended, self._ended = frozenset(self._ended), set()
        return ended

    def of(self, app: str) -> tuple[Instance, ...]:
        """Return the instances of an app as they are now, oldest first."""
        return tuple(live.observed() for live in self._apps.get(app, {}).values())

    def on_wakeup(self, app: str) -> None:
        """Read what the workers of an app have to say."""
        for live in self._apps.get(app, {}).values():
            live.update_from_workers()
            live.changed.set()
        self._wakeups.wake(app)

    def remark(self, app: str, instance: str) -> str:
        """Return what the worker class of an instance cannot do, as the end of a sentence."""
        live = self._apps.get(app, {}).get(instance)
        return "" if live is None else live.remark()

    def work(self, app: str, instance: str) -> tuple[tuple[int, float], ...]:
        """Return, for each worker that counts, its requests in flight and when it last answered one."""
        live = self._apps.get(app, {}).get(instance)
        return () if live is None else live.work()

    def processes(self, app: str) -> Iterator[tuple[Instance, Process]]:
        """Return the instances of an app that are alive, each with its process."""
        for live in self._apps.get(app, {}).values():
            if live.process is not None and live.end is None:
                yield live.observed(), live.process

    def new_identity(self) -> Identity:
        """Return the identity of something that is about to start in an app's place, and is on no record yet."""
        return self._identity(secrets.token_hex(6))

    def tend(self) -> None:
        """Keep the kernel's out-of-memory kills until now from explaining a later exit."""
        self._oom_kills.look()

    def mark_detached(self, app: str, instance: str) -> None:
        """Note that the listener of this instance is one the daemon does not hold."""
        self._apps[app][instance].detached = True

    def mark_unhealthy(self, app: str, instance: str, reason: str | None) -> None:
        """Note why an instance's probes fail, None once they succeed again."""
        live = self._apps.get(app, {}).get(instance)
        if live is not None:
            live.unhealthy = reason

    def restore(
        self, places: Callable[[str], InstancePaths], keep_listener: Callable[[str, Address, int], None]
    ) -> list[Adoption]:
        """Adopt the instances that an earlier daemon left: those that run, and those that have ended.

        `keep_listener` is called with app, address and pid for every process that holds a listener, those included
        that are about to be ended: a worker whose master is gone may be the last to hold it. Instances of another boot
        are forgotten, as are those that never had a process; marked processes of no instance are ended. An instance
        that cannot be adopted is left as it is, for `adopt`.
        """
        found: list[Adoption] = []
        known = list(marked(self._state_id))
        stored = on_record_or_marked(self._records, known)
        records = [with_process(record, known) for record in stored]
        listeners = {record.id: record.address for record in records if record.address != NO_ADDRESS}
        for process in known:
            if process.instance in listeners:
                with survived(f"fetch the listener of {process.app}"):
                    keep_listener(process.app, listeners[process.instance], process.pid)
        for before, record in zip(stored, records, strict=True):
            if record.id in self._apps.get(record.app, {}):
                continue  # adopted before an error made the daemon begin again
            self.unadopted[record.id] = before, record
            with contextlib.suppress(Exception):  # one app's must not be the others'; raised again by `adopt`
                found += self.adopt(record.id, places)
        alive = {live.record.id for lives in self._apps.values() for live in lives.values() if live.process}
        end_strays(known, alive | self.unadopted.keys())
        return found

    def adopt(self, instance: str, places: Callable[[str], InstancePaths]) -> list[Adoption]:
        """Adopt or forget an instance that an earlier daemon left; raises whatever keeps it from that."""
        before, record = self.unadopted[instance]
        readiness, found = places(record.app).readiness / record.id, list[Adoption]()
        if record.boot != self._boot or record.pid is None:
            self._drop(record.id, readiness)
        else:
            live = restored(record, readiness, places(record.app), self._on_end)
            if live.record != before:
                self._records.put_instance(live.record)
            self._apps.setdefault(record.app, {})[record.id] = live
            found.append(Adoption(app=record.app, pid=live.record.pid or 0, alive=live.end is None))
        del self.unadopted[instance]
        return found

    def remove_unused(self, app: str, places: InstancePaths) -> None:
        """Remove the configurations and readiness directories that no instance of the app uses."""
        lives, make_directory = self._apps.get(app, {}), self.sandbox_of(app).make_directory
        with survived(f"remove what no instance of {app} uses"):
            revisions = {live.record.directory_name for live in lives.values()}
            revisions |= {use.revision for use in self.users.of(app)}
            keep_only(places.revisions, revisions, make_directory, self._removals)
            used = lives.keys() | self._leftovers.directories_in(places.readiness)
            keep_only(places.readiness, used, make_directory, self._removals)

    def rename_revision(self, app: str, instance: str, revision: str) -> None:
        """Give the revision of an instance another id; its directory keeps the name it has."""
        live = self._apps[app][instance]
        live.record = replace(live.record, revision=revision, directory=live.record.directory_name)
        self._records.put_instance(live.record)

    async def start(
        self, program: Program, places: InstancePaths, listener: int | None, *, since: float = float("-inf")
    ) -> Instance:
        """Start an instance of the program's revision, or wait for the one that is starting. Raises CannotStart.

        One that is unhealthy, lost a worker, or was started before `since` is to be replaced, and not waited for.
        """
        live = self._starting(program, since) or await self._launch(program, places, listener)
        deadline = live.record.started_at + program.start_timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                while not live.is_lost() and (wait_s := _seconds_to_look(program, live)) > 0:
                    if not await live.change(wait_s):
                        live.update_from_workers()  # a worker that wakes nobody has still written
                    if live.note_importing(failed_start.importing(program, live)):
                        self._wakeups.wake(program.app)
        except TimeoutError:
            live.failed_start = failed_start.why_late(program, live)
        if live.failed_start is None and live.is_lost():
            live.failed_start = failed_start.why(program, live)
        if live.failed_start is not None:
            if live.end is None and not live.close_gate():
                await self._finished(live)
            of_python = depends_on_python(live.refusal() or "")
            await self._kill(live)
            raise CannotStart(live.failed_start, of_python=of_python)
        if live.record.ready_at is None:
            live.mark_ready()
            live.note_importing(None)
            self._records.put_instance(live.record)
        return live.observed()

    async def scale(self, app: str, instance: str, workers: int) -> None:
        """Have so many workers, each past its gate. Raises CannotScale; the instance serves all the time.

        Interrupted anywhere, the record says how many workers the master was last told to keep.
        """
        live = self._apps.get(app, {}).get(instance)
        if live is None or not live.runs:
            return
        try:
            await worker_signals.scale(live, workers)
        except BaseException:
            self._set_workers(live, live.workers_set())
            raise
        self._set_workers(live, workers)

    async def stop(self, app: str, instance: str, *, at_once: bool = False) -> str:
        """End an instance by SIGTERM, or by SIGKILL when its stop timeout is over, and forget it; return how it ended.

        One that is to end `at_once` gets SIGKILL, unless one of its workers accepts already, before all are ready.
        """
        live = self._apps.get(app, {}).get(instance)
        if live is None:
            return "stopped"
        if live.record.stopping_since is None:
            live.record = replace(live.record, stopping_since=time.monotonic())
            self._records.put_instance(live.record)
        how = "stopped"
        if live.process is not None and live.end is None:
            never_served = at_once and live.close_gate()
            how = "killed: it never served" if never_served else await self._finished(live)
            await self._kill(live)
        self._forget(live)
        return how

    async def _finished(self, live: LiveInstance) -> str:
        """Tell an instance to finish its requests, and give it its stop timeout; return how that ended."""
        assert live.process is not None
        live.process.signal(signal.SIGTERM)
        began = live.record.stopping_since or time.monotonic()
        deadline = began + live.record.stop_timeout_s + _KILL_MARGIN_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await live.ended()
        if live.end is None or time.monotonic() - began >= max(1.0, live.record.stop_timeout_s):
            # gunicorn itself kills its workers when that time is over, and ends
            return f"was killed: it did not stop within {live.record.stop_timeout_s:g} s of SIGTERM"
        return "stopped"

    def forget_app(self, app: str) -> None:
        """End whatever is left of an app that was removed."""
        if not self._apps.get(app):
            self._leftovers.of_app(app)

    def reap(self, app: str, instance: str) -> None:
        """Forget an instance that has ended."""
        live = self._apps.get(app, {}).get(instance)
        if live is not None and live.end is not None:
            self._forget(live, soon=True)

    def _starting(self, program: Program, since: float) -> LiveInstance | None:
        for live in self._apps.get(program.app, {}).values():
            record = live.record
            if live.end is not None or live.detached or record.stopping_since is not None:
                continue
            sound = live.unhealthy is None and live.failed_start is None and not live.workers_died
            if record.revision == program.revision and sound and record.started_at >= since:
                return live
        return None

    async def _launch(self, program: Program, places: InstancePaths, listener: int | None) -> LiveInstance:
        self._leftovers.keep(program.app)
        live = self._recorded(program, places)
        identity, sandbox = self._identity(live.record.id), self.sandbox_of(program.app)
        env = {
            **sandbox.environment,
            **program.environment(identity),
            **identity.marks(program.app, program.revision),
            RECORD_MARK: json.dumps(asdict(live.record)),
            SANDBOX_VARIABLE: sandbox.as_variable(),
        }
        command = Command(argv=program.argv, env=env, listener=listener, output=places.log, output_mode=sandbox.log)
        try:
            launched = await launch(command, program.forkable, self._fork_servers, ended=lambda: self._on_end(live))
        except OSError as error:
            self._forget(live)
            raise CannotStart(f"the kernel refused to start it: {error.strerror}") from error
        except BaseException:
            self._forget(live)  # a process that a fork server had made for it was never let go
            raise
        live.process = launched.process
        mute = logs.unwritable(places.log, sandbox.log)
        self._on_launch(
            program.app,
            f"{program.name} {launched.process.pid} started {launched.way}{mute and f', without a log: {mute}'}",
        )
        live.record = replace(live.record, pid=live.process.pid, ticks=start_ticks(live.process.pid))
        self._records.put_instance(live.record)
        return live

    def _recorded(self, program: Program, places: InstancePaths) -> LiveInstance:
        """Put an instance on record that is about to be started."""
        record = InstanceRecord(
            id=secrets.token_hex(6),
            app=program.app,
            revision=program.revision,
            build=program.build,
            address=program.address or NO_ADDRESS,
            boot=self._boot,
            started_at=time.monotonic(),
            stop_timeout_s=program.stop_timeout_s,
            workers=program.readiness.workers if isinstance(program.readiness, WorkersReady) else 0,
            directory=program.directory,
        )
        readiness = places.readiness / record.id
        self.sandbox_of(program.app).make_directory(readiness)
        live = LiveInstance(
            record=record,
            readiness=readiness,
            log=places.log,
            link=places.code(program.directory),
            log_start=logs.size(places.log),
            counts_requests=program.counts_requests,
        )
        self._records.put_instance(record)
        self._apps.setdefault(record.app, {})[record.id] = live
        self.remove_unused(record.app, places)
        return live

    def _identity(self, instance: str) -> Identity:
        return Identity(state=self._state_id, instance=instance, started_at=time.time())  # noqa: TID251  display

    def _set_workers(self, live: LiveInstance, workers: int | None) -> None:
        known = self._apps.get(live.record.app, {}).get(live.record.id)
        if workers is not None and workers != live.record.workers and known is live:
            live.record = replace(live.record, workers=workers)
            self._records.put_instance(live.record)

    def _on_end(self, live: LiveInstance) -> None:
        assert live.process is not None
        live.end = live.process.end
        live.said = live.last_words()
        self._ended.add(live.record.app)
        if live.end == KILLED and not live.process.told_to_end and self._oom_kills.struck():
            live.end = f"{KILLED}, most likely by the kernel, which was out of memory"
        live.changed.set()
        self._wakeups.wake(live.record.app)

    async def _kill(self, live: LiveInstance) -> None:
        if live.process is not None and live.end is None:
            live.process.kill_group()
            await live.ended()
        self._forget(live)

    def _forget(self, live: LiveInstance, *, soon: bool = False) -> None:
        if live.process is not None:
            live.process.forget()
            self._leftovers.of_instance(live.record.id, started_here=live.process.child)
        self._drop(live.record.id, live.readiness, soon=soon)
        self._apps.get(live.record.app, {}).pop(live.record.id, None)

    def _drop(self, instance: str, readiness: Path, *, soon: bool = False) -> None:
        gate_figures_reader.keep(readiness)
        with contextlib.suppress(OSError, RuntimeError):  # what cannot be removed now is unused, and found later
            self._leftovers.remove(readiness) if soon else self._removals.begin(readiness)
        self._records.drop_instance(instance)


def _seconds_to_look(program: Program, live: LiveInstance) -> float:
    """Return how long to wait before looking again at an instance that is starting, 0 once it is ready."""
    match program.readiness:
        case WorkersReady():
            return 0.0 if live.workers_passed >= live.record.workers else _SECOND_LOOK_S
        case StaysAlive(seconds=seconds):
            return max(0.0, live.record.started_at + seconds - time.monotonic())
