"""The instances of this host: started, recognised after the daemon's own death, scaled, stopped, reaped.

An instance is on record before its process exists, so that whatever instruction the daemon dies at, the next one finds
either a record to finish or a marked process to own. Nothing here decides; it only makes an action true.
"""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from reconciler.convergence.standing_tasks import survived
from reconciler.convergence.wake_queue import Wakes
from reconciler.isolation.cells import CELL_VARIABLE, Cells
from reconciler.isolation.limiting import hold, in_force, memory_kills
from reconciler.linux.control_groups import mount_table
from reconciler.linux.error_words import in_words
from reconciler.linux.lean_event import LeanEvent
from reconciler.linux.oom import OomKillCounter
from reconciler.linux.process_identity import start_ticks
from reconciler.linux.process_table import family
from reconciler.linux.processes import KILLED, Command, Process
from reconciler.linux.removals import Removals
from reconciler.planning.address import Address
from reconciler.planning.apps.observed import Instance
from reconciler.planning.isolation.limits import NO_LIMITS, Limits, missing, size
from reconciler.serving import gate_figures_reader, logs
from reconciler.serving.adoption import Adoption, end_strays, holders, on_record_or_marked, restored, with_process
from reconciler.serving.build_users import BuildUsers
from reconciler.serving.confinements import Confinements
from reconciler.serving.forkserver.pool import ForkServerPool
from reconciler.serving.held_instances import HeldInstances
from reconciler.serving.instance_directories import keep_only
from reconciler.serving.isolated_start import confinement_of, launch_instance, proof_of_start
from reconciler.serving.leftovers import Leftovers
from reconciler.serving.live_instance import CannotStart, LiveInstance
from reconciler.serving.marks import RECORD_MARK, Identity, marked
from reconciler.serving.new_instances import new_instance, new_record
from reconciler.serving.programs.gunicorn import InstancePaths
from reconciler.serving.programs.program import Program
from reconciler.serving.sandbox import SANDBOX_VARIABLE, Sandbox
from reconciler.state.records import InstanceRecord, Records


class SupervisedInstances(HeldInstances):
    """Every instance of this state directory, by key and id. Wakes a key when an instance of it changes.

    The key is the name of the app for those of its web server, `APP/PROCESS` for those of another process. `launched`
    is called with an app's name and a sentence that says what was started, and how. `sandbox_of` decides the rights of
    every process of an app, and is asked by what creates a file for one; `confinements` say what isolated ones see.
    `cells` hold the processes of each instance; `limited` is set when one with limits may have something new. `users`
    are those of builds beside instances. `unadopted` are records, as stored and as completed, to be adopted yet, by id.
    """

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        records: Records,
        *,
        state_id: str,
        boot: str,
        sandbox_of: Callable[[str], Sandbox],
        templates: ForkServerPool,
        wakeups: Wakes,
        removals: Removals,
        launched: Callable[[str, str], None],
    ) -> None:
        super().__init__()
        self.sandbox_of = sandbox_of
        self.confinements: Confinements | None = None
        self.app_users: Callable[[], Mapping[int, str]] = dict
        self.cells = Cells(state_id)
        self._records = records
        self._fork_servers = templates
        self._on_launch = launched
        self._state_id, self._boot = state_id, boot
        self._wakeups = wakeups
        self._removals = removals
        self._oom_kills = OomKillCounter()
        self._leftovers = Leftovers(state_id, removals, lambda: self.app_users())  # noqa: PLW0108  it is set later
        self._ended: set[str] = set()
        self.users = BuildUsers()
        self.limited = LeanEvent()
        self._woken: set[str] = set()
        self.unadopted: dict[str, tuple[InstanceRecord, InstanceRecord]] = {}

    def take_ended(self) -> frozenset[str]:
        """Return the apps of which an instance has ended since the last call."""
        ended, self._ended = frozenset(self._ended), set()
        return ended

    def on_wakeup(self, app: str) -> None:
        """Read what the workers of an app have to say, if it has any: other apps may write any name."""
        lives = self.lives(app)
        if not lives:
            return
        for live in lives:
            live.update_from_workers()
            live.changed.set()
            if live.limits:
                self._woken.add(live.record.id)
                self.limited.set()
        self._wakeups.wake(app)

    def take_woken(self) -> frozenset[str]:
        """Return the ids of the instances with limits of which something new was read since the last call."""
        woken, self._woken = frozenset(self._woken), set()
        self.limited.clear()
        return woken

    def processes(self, app: str) -> Iterator[tuple[Instance, Process]]:
        """Return the instances of an app that are alive, each with its process."""
        for live in self.lives(app):
            if live.process is not None and live.end is None:
                yield live.observed(), live.process

    @property
    def is_clearing(self) -> bool:
        """Whether what is left of instances that have ended is being ended."""
        return self._leftovers.is_busy

    def wake(self, key: str) -> None:
        """Have an app or a process looked at soon."""
        self._wakeups.wake(key)

    async def clear(self) -> None:
        """Wait until what instances left that have ended is ended, and their cells are removed."""
        await self._leftovers.finish()

    def new_identity(self) -> Identity:
        """Return the identity of something that is about to start in an app's place, and is on no record yet."""
        return self._identity(secrets.token_hex(6))

    def tend(self) -> None:
        """Keep the kernel's out-of-memory kills until now from explaining a later exit."""
        self._oom_kills.look()

    def restore(
        self, places: Callable[[str], InstancePaths], keep_listener: Callable[[str, Address, int, str], None]
    ) -> list[Adoption]:
        """Adopt the instances that an earlier daemon left: those that run, and those that have ended.

        `keep_listener` is called with app, address, pid and revision for every process that holds a listener, the
        oldest instance first, those included that are about to be ended: a worker whose master is gone may be the last
        to hold it. Instances of another boot are forgotten, as are those that never had a process; marked processes of
        no instance are ended. An instance that cannot be adopted is left as it is, for `adopt`.
        """
        users, mounts = self.app_users(), mount_table()
        everything = list(marked(self._state_id, apps=users))
        found: list[Adoption] = []
        known = [process for process in everything if not process.task]
        stored = on_record_or_marked(self._records, known)
        records = [with_process(record, known) for record in stored]
        for process, record, address in holders(known, records):
            with survived(f"fetch the listener of {process.app}"):
                keep_listener(process.app, address, process.pid, record.revision)
        for before, record in zip(stored, records, strict=True):
            if self.live(record.key, record.id) is not None:
                continue  # adopted before an error made the daemon begin again
            self.unadopted[record.id] = before, record
            with contextlib.suppress(Exception):  # one app's must not be the others'; raised again by `adopt`
                found += self.adopt(record.id, places, users, mounts)
        alive = {live.record.id for live in self.all() if live.process}
        end_strays(known, alive | self.unadopted.keys())
        used = {live.record.id for live in self.all()} | self.unadopted.keys() | {each.task for each in everything}
        for cell in self.cells.left_over(used):
            self._leftovers.of_cell(cell)
        return found

    def adopt(
        self,
        instance: str,
        places: Callable[[str], InstancePaths],
        users: Mapping[int, str] | None = None,
        mounts: str = "",
    ) -> list[Adoption]:
        """Adopt or forget an instance that an earlier daemon left; raises whatever keeps it from that.

        The `users` of apps and the table of `mounts` are read now unless given.
        """
        before, record = self.unadopted[instance]
        users = self.app_users() if users is None else users
        paths = places(record.app)
        readiness, found = paths.readiness / record.id, list[Adoption]()
        if record.boot != self._boot or record.pid is None:
            self._drop(record.id, readiness)
        else:
            live = restored(record, readiness, paths, self._on_end, users)
            if live.end is not None:
                live.cell = self.cells.made(record.app, record.id)
                live.cell.kill()
            elif record.pid:
                live.cell = self.cells.of(record.app, record.id, record.pid, mounts)
                live.kills = memory_kills(live.cell)
                live.limits = in_force(live.cell, record.pid, self.sandbox_of(record.app).nofile)
            if live.record != before:
                self._records.put_instance(live.record)
            self.hold(live)
            found.append(Adoption(key=record.key, pid=live.record.pid or 0, alive=live.end is None))
        del self.unadopted[instance]
        return found

    def remove_unused(self, app: str, places: InstancePaths) -> None:
        """Remove the configurations and readiness directories that no instance of the app uses."""
        lives, make_directory = self.of_app(app), self.sandbox_of(app).make_directory
        with survived(f"remove what no instance of {app} uses"):
            revisions = {live.record.directory_name for live in lives}
            revisions |= {use.revision for use in self.users.of(app)}
            keep_only(places.revisions, revisions, make_directory, self._removals)
            used = {live.record.id for live in lives} | self._leftovers.directories_in(places.readiness)
            keep_only(places.readiness, used, make_directory, self._removals)

    def rename_revision(self, app: str, instance: str, revision: str) -> None:
        """Give the revision of an instance another id; its directory keeps the name it has."""
        live = self._lives[app][instance]
        self.put(live, revision=revision, directory=live.record.directory_name)

    def forget_app(self, app: str) -> None:
        """End whatever is left of an app that was removed."""
        self.forget_logs(app)
        if not self.of_app(app):
            self._leftovers.of_app(app)

    def reap(self, key: str, instance: str) -> None:
        """Forget an instance that has ended."""
        live = self.live(key, instance)
        if live is not None and live.end is not None:
            self.forget(live, soon=True)

    def put(self, live: LiveInstance, **changes: Any) -> None:
        """Change the record of an instance, in memory first: a full disk makes nothing of it untrue."""
        live.record = replace(live.record, **changes)
        self._records.put_instance(live.record)

    def apply_limits(self, key: str, instance: str, limits: Limits) -> bool:
        """Hold an instance to other limits, with all that it has started; return whether that is a change."""
        live = self.live(key, instance)
        if live is None or live.process is None or live.end is not None:
            return False
        changes = live.limits != limits
        known = live.limits is not None
        master = live.process.pid
        self.cells.extend(live.cell, live.record.app, live.record.id, limits.controllers, master)
        pids = live.cell.pids() | {pid for pid, _ in family(master)}
        self._limit(live, limits, self.sandbox_of(live.record.app), pids)
        live.outgrown = ""
        return changes and known

    def _limit(self, live: LiveInstance, limits: Limits, sandbox: Sandbox, pids: Collection[int] = ()) -> None:
        live.held = hold(live.cell, limits, pids, sandbox.nofile) if limits or pids else {}
        if limits or pids:
            live.tell_memory(limits.memory)
        live.limits = limits
        self._woken.add(live.record.id)
        self.limited.set()
        live.unenforced = missing(limits, live.held, self.cells.layout.lacks) if live.limits or live.held else ""

    async def launch(self, program: Program, places: InstancePaths, passed: Sequence[int]) -> LiveInstance:
        """Start the process of a program; `passed` become its descriptors from 3 on. Raises CannotStart."""
        self._leftovers.keep(program.app)
        live = self.recorded(program, places)
        identity, sandbox = self._identity(live.record.id), self.sandbox_of(program.app)
        limits = self.cells.limits_of(live.record.key)
        live.cell = self.cells.make(program.app, live.record.id, limits.controllers)
        self._limit(live, limits, sandbox)
        sandbox = sandbox.limited(live.limits or NO_LIMITS, live.held)
        env = {
            **sandbox.environment,
            **program.environment(identity),
            **identity.marks(program.app, program.revision),
            RECORD_MARK: json.dumps(live.record.as_json()),
            SANDBOX_VARIABLE: sandbox.as_variable(),
            **({CELL_VARIABLE: "\n".join(live.cell.entrances)} if live.cell else {}),
        }
        first, beside = (*passed, None, None)[:2]
        command = Command(
            argv=program.argv, env=env, listener=first, beside=beside, output=live.log, output_mode=sandbox.log,
            group=live.cell.birthplace,
        )  # fmt: skip
        try:
            if self.confinements is not None and program.sight is not None:
                await self.confinements.ready(program.sight.isolation)
            confinement = confinement_of(self.confinements, program, places, live)
            ended = partial(self._on_end, live)
            launched, report = await launch_instance(command, program, confinement, self._fork_servers, ended)
        except OSError as error:
            self.forget(live)
            raise CannotStart(f"the kernel refused to start it: {in_words(error)}") from error
        except BaseException:
            self.forget(live)  # a process that a fork server had made for it was never let go
            raise
        live.process, ticks = launched.process, start_ticks(launched.process.pid)
        if live.cell and not launched.inside:
            with contextlib.suppress(RuntimeError):  # no thread left: it enters by itself
                asyncio.get_running_loop().run_in_executor(None, live.cell.admit, launched.process, ticks)
        how = launched.way + (f", without a log: {mute}" if (mute := logs.unwritable(live.log, sandbox.log)) else "")
        self._on_launch(program.app, f"{program.name} {launched.process.pid} {how}")
        self.put(live, pid=live.process.pid, ticks=ticks)
        if confinement is not None and report is not None:
            try:
                self.put(live, isolation=await proof_of_start(live, confinement, report))
            except CannotStart:
                await self._kill(live)
                raise
        return live

    def recorded(self, program: Program, places: InstancePaths) -> LiveInstance:
        """Put an instance on record that is about to be started."""
        record = new_record(program, self._boot)
        live = new_instance(record, program, places)
        self.sandbox_of(program.app).make_directory(live.readiness)
        self._records.put_instance(record)
        self.hold(live)
        self.remove_unused(record.app, places)
        return live

    def _identity(self, instance: str) -> Identity:
        return Identity(state=self._state_id, instance=instance, started_at=time.time())  # noqa: TID251  display

    def _on_end(self, live: LiveInstance) -> None:
        assert live.process is not None
        live.cell.kill()
        live.end = live.process.end
        live.said = live.last_words()
        self._ended.add(live.record.app)
        if live.end == KILLED and not live.process.told_to_end:
            if memory_kills(live.cell) > live.kills and live.limits is not None and live.limits.memory is not None:
                live.end = f"{KILLED}: it needed more than {size(live.limits.memory)}"
            elif "host" in live.beyond:
                live.end = f"{KILLED}: {live.beyond['host']}"
            elif self._oom_kills.struck():
                live.end = f"{KILLED}, most likely by the kernel, which was out of memory"
        live.changed.set()
        self._wakeups.wake(live.record.key)

    async def _kill(self, live: LiveInstance) -> None:
        if live.process is not None and live.end is None:
            live.process.kill_group()
            live.cell.kill()
            await live.ended()
        self.forget(live)

    def forget(self, live: LiveInstance, *, soon: bool = False) -> None:
        """Forget an instance, and end whatever is left of it."""
        if live.process is not None:
            live.process.forget()
            self._leftovers.of_instance(live.record.id, started_here=live.process.child)
        self._leftovers.of_cell(live.cell)
        self._drop(live.record.id, live.readiness, soon=soon)
        self.let_go(live)

    def _drop(self, instance: str, readiness: Path, *, soon: bool = False) -> None:
        gate_figures_reader.keep(readiness)
        with contextlib.suppress(OSError, RuntimeError):  # what cannot be removed now is unused, and found later
            self._leftovers.remove(readiness) if soon else self._removals.begin(readiness)
        self._records.drop_instance(instance)
