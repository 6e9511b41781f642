"""The gunicorn masters of this host: started, recognised after the daemon's own death, waited for, stopped, buried.

An instance is on record before its process exists, so that whatever instruction the daemon dies at, the next one finds
either a record to finish or a marked process to own. Nothing here decides; it only makes an action true.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from reconciler.desired import Revision
from reconciler.observed import Crashes, Instance
from reconciler.records import InstanceRecord, Records
from reconciler.serving import logs
from reconciler.serving.gunicorn import Code, Identity, Places, argv, environment, write_config
from reconciler.serving.process import Command, Marked, Process, adopt, kill_group, marked, spawn, start_ticks

_SECOND_LOOK_S = 1.0
_KILL_MARGIN_S = 2.0


class CannotStart(Exception):
    """An instance did not get as far as serving; the text says what it said last."""


@dataclass(slots=True, kw_only=True)
class _Live:
    """An instance on record, its process while it has one, and a bell for whoever waits for it to change."""

    record: InstanceRecord
    passed: Path
    process: Process | None = None
    end: str | None = None
    stranded: bool = False
    log_start: int = 0
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
            ready=record.ready,
            stopping_since=record.stopping_since,
            stranded=self.stranded,
            end=self.end,
        )

    def workers_passed(self) -> int:
        """How many workers have come through their gate."""
        with contextlib.suppress(OSError):
            return sum(1 for _ in self.passed.iterdir())
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """What was found of an instance when the daemon started."""

    app: str
    pid: int
    alive: bool


class Instances:
    """Every instance of this state directory, by app and id. `changed` is called with an app's name on the loop."""

    def __init__(self, records: Records, *, state_id: str, boot: str, changed: Callable[[str], None]) -> None:
        self._records = records
        self._state_id = state_id
        self._boot = boot
        self._changed = changed
        self._apps: dict[str, dict[str, _Live]] = {}

    def apps(self) -> frozenset[str]:
        """The apps that have an instance on record."""
        return frozenset(name for name, lives in self._apps.items() if lives)

    def of(self, app: str) -> tuple[Instance, ...]:
        """The instances of an app as they are now, oldest first."""
        return tuple(live.seen() for live in self._apps.get(app, {}).values())

    def ring(self, app: str) -> None:
        """A worker of the app came through its gate, or says so."""
        for live in self._apps.get(app, {}).values():
            live.bell.set()

    def processes(self, app: str) -> Iterator[tuple[Instance, Process]]:
        """The live processes of an app with what is known of each."""
        for live in self._apps.get(app, {}).values():
            if live.process is not None and live.end is None:
                yield live.seen(), live.process

    def strand(self, app: str, instance: str) -> None:
        """Note that the listener of this instance is one the daemon does not hold."""
        self._apps[app][instance].stranded = True

    def restore(self, places: Callable[[str], Places]) -> list[Adoption]:
        """Recognise what an earlier daemon left: adopt what runs, note what is gone, end what is on no record.

        Instances of another boot are forgotten: their processes cannot be any more.
        """
        found: list[Adoption] = []
        known = list(marked(self._state_id))
        for record in self._records.instances():
            passed = places(record.app).passed / record.id
            if record.boot != self._boot:
                self._drop(record.id, passed)
                continue
            live = self._restored(_with_process(record, known), passed)
            self._apps.setdefault(record.app, {})[record.id] = live
            found.append(Adoption(app=record.app, pid=live.record.pid or 0, alive=live.end is None))
        self._end_strays(known)
        return found

    async def start(self, revision: Revision, code: Code, places: Places, listener: int) -> Instance:
        """Bring up an instance of the revision, or wait for the one that is coming up; raises CannotStart."""
        live = self._coming_up(revision) or self._spawn(revision, code, places, listener)
        deadline = live.record.started_at + revision.server.start_timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                while live.end is None and live.workers_passed() < live.record.workers:
                    live.bell.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_SECOND_LOOK_S):
                            await live.bell.wait()
        except TimeoutError:
            await self._kill(live)
            said = logs.reason(places.log, live.log_start)
            late = f"it was not ready within {revision.server.start_timeout_s:g} s"
            raise CannotStart(f"{late}; it said: {said}" if said else late) from None
        if live.end is not None:
            said = logs.reason(places.log, live.log_start)
            self._forget(live)
            raise CannotStart(said or f"gunicorn {live.end}")
        live.record = replace(live.record, ready=True)
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

    def bury(self, app: str, instance: str, crashes: Crashes | None, good_run_s: float) -> Crashes | None:
        """Forget an instance that is gone; returns the crashes of its revision with this one, None if it was stopped."""
        live = self._apps.get(app, {}).get(instance)
        if live is None or live.end is None:
            return crashes
        counted = crashes
        if live.record.stopping_since is None:
            counted = _count(live, crashes, good_run_s)
            self._records.set_crashes(app, counted, self._boot)
        self._forget(live)
        return counted

    def _coming_up(self, revision: Revision) -> _Live | None:
        for live in self._apps.get(revision.app, {}).values():
            record = live.record
            if record.revision == revision.id and live.end is None and record.stopping_since is None:
                return live
        return None

    def _spawn(self, revision: Revision, code: Code, places: Places, listener: int) -> _Live:
        config = write_config(revision, code, places)
        record = InstanceRecord(
            id=secrets.token_hex(6),
            app=revision.app,
            revision=revision.id,
            build=revision.build.id,
            address=revision.address,
            boot=self._boot,
            started_at=time.monotonic(),
            stop_timeout_s=revision.server.stop_timeout_s,
            workers=revision.server.workers,
        )
        passed = places.passed / record.id
        passed.mkdir(mode=0o700)
        live = _Live(record=record, passed=passed, log_start=logs.size(places.log))
        self._records.put_instance(record)
        self._apps.setdefault(record.app, {})[record.id] = live
        identity = Identity(state=self._state_id, instance=record.id, started_at=time.time())  # noqa: TID251  display
        try:
            live.process = spawn(
                Command(
                    argv=argv(config, code),
                    env=environment(revision, code, places, identity),
                    listener=listener,
                    output=places.log,
                ),
                ended=lambda: self._on_end(live),
            )
        except OSError as error:
            self._forget(live)
            raise CannotStart(f"the kernel refused to start it: {error.strerror}") from error
        live.record = replace(record, pid=live.process.pid, ticks=start_ticks(live.process.pid))
        self._records.put_instance(live.record)
        return live

    def _restored(self, record: InstanceRecord, passed: Path) -> _Live:
        live = _Live(record=record, passed=passed)
        if record.pid is not None and record.ticks is not None:
            live.process = adopt(record.pid, record.ticks, ended=lambda: self._on_end(live))
        if live.process is None:
            live.end = "ended while no daemon was watching"
        elif not record.ready and live.workers_passed() >= record.workers:
            live.record = replace(record, ready=True)
        self._records.put_instance(live.record)
        return live

    def _end_strays(self, known: list[Marked]) -> None:
        """Kill marked processes whose leader is not alive on record: half-started orphans, workers without a master."""
        alive = {
            live.record.id for lives in self._apps.values() for live in lives.values() if live.process is not None
        }
        for process in known:
            if process.instance not in alive:
                kill_group(process.pid) if process.leads else _kill_one(process.pid)

    def _on_end(self, live: _Live) -> None:
        assert live.process is not None
        live.end = live.process.end
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
        self._drop(live.record.id, live.passed)
        self._apps.get(live.record.app, {}).pop(live.record.id, None)

    def _drop(self, instance: str, passed: Path) -> None:
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


def _count(live: _Live, crashes: Crashes | None, good_run_s: float) -> Crashes:
    now = time.monotonic()
    record = live.record
    good = record.ready and now - record.started_at >= good_run_s
    before = crashes.count if crashes is not None and crashes.revision == record.revision and not good else 0
    return Crashes(revision=record.revision, count=before + 1, last_at=now, end=live.end or "ended")


def _kill_one(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)
