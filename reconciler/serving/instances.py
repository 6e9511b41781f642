"""The gunicorn masters of this host: started, recognised after the daemon's own death, waited for, stopped, buried.

An instance is on record before its process exists, so that whatever instruction the daemon dies at, the next one finds
either a record to finish or a marked process to own. Nothing here decides; it only makes an action true.
"""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from reconciler.linux.oom import OomKillCounter
from reconciler.linux.processes import (
    KILLED,
    RECORD_MARK,
    Command,
    Marked,
    Process,
    adopt,
    await_end,
    kill_group,
    marked,
    start_ticks,
)
from reconciler.planning.apps.observed import Instance
from reconciler.planning.desired import Address, Revision
from reconciler.serving import logs, request_counters
from reconciler.serving.forkserver.pool import ForkServerPool
from reconciler.serving.gunicorn import Code, Identity, InjectedEnv, InstancePaths, argv, environment, write_config
from reconciler.serving.launch import launch
from reconciler.state.records import InstanceRecord, Records

_SECOND_LOOK_S = 1.0
_KILL_MARGIN_S = 2.0
_STRAYS_END_S = 2.0


class CannotStart(Exception):
    """An instance did not get as far as serving; the text says what it said last."""


@dataclass(slots=True, kw_only=True)
class _Live:
    """An instance on record, its process while it has one, and a bell for whoever waits for it to change."""

    record: InstanceRecord
    readiness: Path
    process: Process | None = None
    end: str | None = None
    detached: bool = False
    unhealthy: str | None = None
    log_start: int = 0
    counts: bool = False
    note: str | None = None
    workers_died: int = 0
    bell: asyncio.Event = field(default_factory=asyncio.Event)

    def seen(self) -> Instance:
        record = self.record
        return Instance(
            id=record.id,
            revision=record.revision,
            build=record.build,
            address=record.address,
            pid=record.pid or 0,
            started_at=record.started_at,
            workers=record.workers,
            ready_at=record.ready_at,
            stopping_since=record.stopping_since,
            detached=self.detached,
            unhealthy=self.unhealthy,
            busy_at=self.busy_at() if self.counts else None,
            note=self.note,
            workers_died=self.workers_died,
            end=self.end,
        )

    def workers_passed(self) -> int:
        """How many workers have come through their gate."""
        return sum(1 for name in self._said() if name.isdecimal())

    def listen_to_workers(self) -> None:
        """Take note of what a worker says that waits before its gate while others serve, and of those that died."""
        said = self._said()
        waiting = [name for name in said if name.startswith("waiting-")]
        self.workers_died = sum(1 for name in said if name.startswith("fallen-"))
        self.note = None if not waiting else f"{len(waiting)} of its workers waits: {self._words(waiting[0])}"

    def refusal(self) -> str | None:
        """Why a worker did not pass its gate, None when none said so."""
        return self._words("refused") or None

    def busy_at(self) -> float | None:
        """When a worker was last at work on a request, monotonic seconds."""
        return request_counters.last_busy(self.readiness / name for name in self._said() if name.isdecimal())

    def counts_itself(self) -> bool:
        """Whether its workers write down when they are at work."""
        return request_counters.counting(self.readiness / name for name in self._said() if name.isdecimal())

    def mark_serving(self) -> None:
        """Tell the workers to come that a failed check is to be waited out."""
        with contextlib.suppress(OSError):
            (self.readiness / "serving").touch(mode=0o600)

    def _said(self) -> list[str]:
        with contextlib.suppress(OSError):
            return os.listdir(self.readiness)  # noqa: PTH208  names are all there is to know
        return []

    def _words(self, name: str) -> str:
        with contextlib.suppress(OSError):
            return " ".join((self.readiness / name).read_text(encoding="utf-8", errors="replace")[:1000].split())
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """What was found of an instance when the daemon started."""

    app: str
    pid: int
    alive: bool


class Instances:
    """Every instance of this state directory, by app and id. `changed` is called with an app's name on the loop.

    `launched` is called with an app's name, and in words what was started and how.
    """

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        records: Records,
        *,
        state_id: str,
        boot: str,
        templates: ForkServerPool,
        changed: Callable[[str], None],
        launched: Callable[[str, str], None],
    ) -> None:
        self._records = records
        self._templates = templates
        self._launched = launched
        self._state_id = state_id
        self._boot = boot
        self._changed = changed
        self._memory_killer = OomKillCounter()
        self._apps: dict[str, dict[str, _Live]] = {}

    def apps(self) -> frozenset[str]:
        """The apps that have an instance on record."""
        return frozenset(name for name, lives in self._apps.items() if lives)

    def of(self, app: str) -> tuple[Instance, ...]:
        """The instances of an app as they are now, oldest first."""
        return tuple(live.seen() for live in self._apps.get(app, {}).values())

    def on_wakeup(self, app: str) -> None:
        """A worker of the app has something to say."""
        for live in self._apps.get(app, {}).values():
            live.listen_to_workers()
            live.bell.set()

    def processes(self, app: str) -> Iterator[tuple[Instance, Process]]:
        """The live processes of an app with what is known of each."""
        for live in self._apps.get(app, {}).values():
            if live.process is not None and live.end is None:
                yield live.seen(), live.process

    def surroundings(self, revision: Revision, code: Code, places: InstancePaths, given: InjectedEnv) -> dict[str, str]:
        """The environment of an instance, for a command run in its place; marked as ours, and on no record."""
        identity = Identity(state=self._state_id, instance=secrets.token_hex(6), started_at=time.time())  # noqa: TID251
        return environment(revision, code, places, identity, given)

    def tend(self) -> None:
        """What the kernel killed for want of memory until now explains no later death."""
        self._memory_killer.look()

    def mark_detached(self, app: str, instance: str) -> None:
        """Note that the listener of this instance is one the daemon does not hold."""
        self._apps[app][instance].detached = True

    def mark_unhealthy(self, app: str, instance: str, reason: str | None) -> None:
        """Note that an instance keeps failing its health path, or no longer."""
        live = self._apps.get(app, {}).get(instance)
        if live is not None:
            live.unhealthy = reason

    def restore(
        self, places: Callable[[str], InstancePaths], keep_door: Callable[[str, Address, int], None]
    ) -> list[Adoption]:
        """Recognise what an earlier daemon left: adopt what runs, note what is gone, end what has no master.

        `keep_door` is called with app, address and pid for every process that holds a listener, those included that
        are about to be ended: a worker whose master is gone may be the last to hold it. Forgotten are instances of
        another boot, whose processes cannot be any more, and those that never had one. A master that is on no record,
        because the database was lost or could not take it, is put on record from its own marks.
        """
        found: list[Adoption] = []
        known = list(marked(self._state_id))
        self._write_down(known)
        records = [_with_process(record, known) for record in self._records.instances()]
        addresses = {record.id: record.address for record in records}
        for process in known:
            if process.instance in addresses:
                keep_door(process.app, addresses[process.instance], process.pid)
        for record in records:
            passed = places(record.app).readiness / record.id
            if record.boot != self._boot or record.pid is None:
                self._drop(record.id, passed)
                continue
            live = self._restored(record, passed)
            self._apps.setdefault(record.app, {})[record.id] = live
            found.append(Adoption(app=record.app, pid=live.record.pid or 0, alive=live.end is None))
        self._end_strays(known)
        return found

    def _write_down(self, known: list[Marked]) -> None:
        """Put the masters that run on no record on one, from their own marks."""
        recorded = {record.id for record in self._records.instances()}
        for process in known:
            with contextlib.suppress(ValueError, TypeError, KeyError):
                told = json.loads(process.record) if process.leads and process.instance not in recorded else None
                if told is not None:
                    record = InstanceRecord(**{**told, "address": Address(**told["address"])})
                    self._records.put_instance(replace(record, pid=process.pid, ticks=start_ticks(process.pid)))

    def remove_unused(self, app: str, places: InstancePaths) -> None:
        """Remove what no instance of the app reads or writes any more: configurations, and words of workers."""
        lives = self._apps.get(app, {})
        _keep_only(places.revisions, {live.record.revision for live in lives.values()})
        _keep_only(places.readiness, lives.keys())

    async def start(  # noqa: PLR0913  each is another part of what an instance is made of
        self,
        revision: Revision,
        code: Code,
        places: InstancePaths,
        listener: int,
        given: InjectedEnv = InjectedEnv(),
        *,
        workers: int,
        since: float = float("-inf"),
    ) -> Instance:
        """Bring up an instance of the revision, or wait for the one that is coming up; raises CannotStart.

        One that is unwell, lost a worker, or was started before `since`, is to be replaced and not to be waited for.
        """
        live = self._coming_up(revision, since) or await self._launch(revision, code, places, listener, given, workers)
        deadline = live.record.started_at + revision.server.start_timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                while live.end is None and live.workers_passed() < live.record.workers:
                    live.bell.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_SECOND_LOOK_S):
                            await live.bell.wait()
        except TimeoutError:
            said = live.refusal() or logs.reason(places.log, live.log_start)
            await self._kill(live)
            late = f"it was not ready within {revision.server.start_timeout_s:g} s"
            raise CannotStart(f"{late}; it said: {said}" if said else late) from None
        if live.end is not None:
            said = live.refusal() or logs.reason(places.log, live.log_start)
            self._forget(live)
            raise CannotStart(said or f"gunicorn {live.end}")
        if live.record.ready_at is None:
            live.record = replace(live.record, ready_at=time.monotonic())
            live.mark_serving()
            self._records.put_instance(live.record)
        return live.seen()

    async def stop(self, app: str, instance: str) -> None:
        """SIGTERM, wait for the requests inside to finish, SIGKILL after the stop timeout; then forget it."""
        live = self._apps.get(app, {}).get(instance)
        if live is None:
            return
        if live.record.stopping_since is None:
            live.record = replace(live.record, stopping_since=time.monotonic())
            self._records.put_instance(live.record)
        if live.process is not None and live.end is None:
            live.process.signal(signal.SIGTERM)
            assert live.record.stopping_since is not None
            deadline = live.record.stopping_since + live.record.stop_timeout_s + _KILL_MARGIN_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._ended(live)
            await self._kill(live)
        self._forget(live)

    def reap(self, app: str, instance: str) -> None:
        """Forget an instance that is gone."""
        live = self._apps.get(app, {}).get(instance)
        if live is not None and live.end is not None:
            self._forget(live)

    def _coming_up(self, revision: Revision, since: float) -> _Live | None:
        for live in self._apps.get(revision.app, {}).values():
            record = live.record
            if live.end is not None or live.detached or record.stopping_since is not None:
                continue
            sound = live.unhealthy is None and not live.workers_died
            if record.revision == revision.id and sound and record.started_at >= since:
                return live
        return None

    async def _launch(  # noqa: PLR0913, PLR0917  each is another part of what an instance is made of
        self, revision: Revision, code: Code, places: InstancePaths, listener: int, given: InjectedEnv, workers: int
    ) -> _Live:
        assert revision.address is not None
        config = write_config(revision, code, places, workers)
        record = InstanceRecord(
            id=secrets.token_hex(6),
            app=revision.app,
            revision=revision.id,
            build=revision.build.id,
            address=revision.address,
            boot=self._boot,
            started_at=time.monotonic(),
            stop_timeout_s=revision.server.stop_timeout_s,
            workers=workers,
        )
        passed = places.readiness / record.id
        passed.mkdir(mode=0o700)
        live = _Live(record=record, readiness=passed, log_start=logs.size(places.log), counts=revision.server.counts)
        self._records.put_instance(record)
        self._apps.setdefault(record.app, {})[record.id] = live
        self.remove_unused(record.app, places)
        identity = Identity(state=self._state_id, instance=record.id, started_at=time.time())  # noqa: TID251  display
        env = {**environment(revision, code, places, identity, given), RECORD_MARK: json.dumps(asdict(record))}
        try:
            launched = await launch(
                Command(
                    argv=argv(config, code),
                    env=env,
                    listener=listener,
                    output=places.log,
                ),
                revision.server,
                code,
                self._templates,
                ended=lambda: self._on_end(live),
            )
        except OSError as error:
            self._forget(live)
            raise CannotStart(f"the kernel refused to start it: {error.strerror}") from error
        except asyncio.CancelledError:
            self._forget(live)  # what a template had forked for it was never let go
            raise
        live.process = launched.process
        mute = logs.unwritable(places.log)
        self._launched(
            record.app, f"gunicorn {launched.process.pid} started {launched.way}{mute and f', without a log: {mute}'}"
        )
        live.record = replace(record, pid=live.process.pid, ticks=start_ticks(live.process.pid))
        self._records.put_instance(live.record)
        return live

    def _restored(self, record: InstanceRecord, passed: Path) -> _Live:
        live = _Live(record=record, readiness=passed)
        if record.pid is not None and record.ticks is not None:
            live.process = adopt(record.pid, record.ticks, ended=lambda: self._on_end(live))
        if live.process is None:
            live.end = "ended while no daemon was watching"
        elif record.ready_at is None and live.workers_passed() >= record.workers:
            live.record = replace(record, ready_at=time.monotonic())
            live.mark_serving()
        live.counts = live.counts_itself()
        self._records.put_instance(live.record)
        return live

    def _end_strays(self, known: list[Marked]) -> None:
        """Kill marked processes whose leader is not alive on record: half-started orphans, workers without a master."""
        alive = {live.record.id for lives in self._apps.values() for live in lives.values() if live.process is not None}
        strays = [process for process in known if process.instance not in alive]
        for process in strays:
            kill_group(process.pid) if process.leads else _kill_one(process.pid)
        # Until they are gone they hold the port that is about to be opened again.
        await_end([process.pid for process in strays], _STRAYS_END_S)

    def _on_end(self, live: _Live) -> None:
        assert live.process is not None
        live.end = live.process.end
        if live.end == KILLED and not live.process.told_to_end and self._memory_killer.struck():
            live.end = f"{KILLED}, most likely by the kernel, which was out of memory"
        live.bell.set()
        self._changed(live.record.app)

    async def _ended(self, live: _Live) -> None:
        while live.end is None:
            live.bell.clear()
            await live.bell.wait()

    async def _kill(self, live: _Live) -> None:
        if live.process is not None and live.end is None:
            live.process.kill_group()
            await self._ended(live)
        self._forget(live)

    def _forget(self, live: _Live) -> None:
        if live.process is not None:
            live.process.forget()
        self._drop(live.record.id, live.readiness)
        self._apps.get(live.record.app, {}).pop(live.record.id, None)

    def _drop(self, instance: str, passed: Path) -> None:
        request_counters.keep(passed)
        shutil.rmtree(passed, ignore_errors=True)
        self._records.drop_instance(instance)


def _with_process(record: InstanceRecord, known: list[Marked]) -> InstanceRecord:
    """The record of an instance whose daemon died between starting it and writing down its pid."""
    if record.pid is not None:
        return record
    for process in known:
        if process.instance == record.id and process.leads:
            return replace(record, pid=process.pid, ticks=start_ticks(process.pid))
    return record


def _keep_only(directory: Path, names: Collection[str]) -> None:
    with contextlib.suppress(FileNotFoundError):
        for entry in list(directory.iterdir()):
            if entry.name not in names:
                shutil.rmtree(entry, ignore_errors=True)


def _kill_one(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)
