"""The processes of apps that are not web as a World: observed, planned, and each action made true.

A process converges by itself, under the name APP/PROCESS. No action waits for a program: that one ends, is ready or is
of no use any more is observed, and planned for.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.convergence.wake_queue import WakeRoutes
from reconciler.convergence.world import Report
from reconciler.host.stores import Stores
from reconciler.host.world import AppWorld
from reconciler.planning.apps.observed import ProcessFailure
from reconciler.planning.cache import Planner
from reconciler.planning.desired_state import DesiredState
from reconciler.planning.isolation.actions import ApplyLimits
from reconciler.planning.plan import Plan
from reconciler.planning.processes.actions import (
    Action,
    ChangeStop,
    EndHolders,
    ForgetProcess,
    KillProcess,
    MarkReady,
    ReapProcess,
    SignalProcess,
    StartProcess,
    StopProcess,
)
from reconciler.planning.processes.observed import Crash, ObservedProcess, ProcessInstance
from reconciler.planning.processes.process import After, AppProcess, Notifies, parts_of
from reconciler.planning.reason import Cause, Reason
from reconciler.planning.states import AppState
from reconciler.planning.subject import Subject
from reconciler.planning.wording import span
from reconciler.processes.backlogs import Backlogs
from reconciler.processes.checks import Checks
from reconciler.processes.desired import processes_of
from reconciler.processes.memory import ProcessMemory
from reconciler.processes.notify import PREFIX, NotifySockets, variables
from reconciler.processes.programs import ProcessPlace
from reconciler.processes.questions import Questions
from reconciler.processes.single import SingleLocks
from reconciler.processes.targets import Targets
from reconciler.serving.live_instance import CannotStart, LiveInstance
from reconciler.serving.process_instances import ProcessInstances
from reconciler.serving.supervised import SupervisedInstances
from reconciler.settings.settings import Settings
from reconciler.state.journal import EventKind

_STOPPED = Cause(Reason.STOPPED_BY_OPERATOR, "stopped by an operator, until its manifest changes")
_APP_STOPPED = Cause(Reason.STOPPED_BY_OPERATOR, "its app was stopped by an operator")
_AILING = frozenset(("failing", "degraded"))
_NEVER = float("-inf")
_LOOK_EVERY_S = 0.05


class ProcessWorld:
    """The World of processes. It wakes an app of which a process has something new to say."""

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        settings: Settings,
        stores: Stores,
        apps: AppWorld,
        instances: SupervisedInstances,
        *,
        boot: str,
        wakeups: WakeRoutes,
        tasks: StandingTasks,
    ) -> None:
        self._paths = settings.paths
        self._stores = stores
        self._places = apps.places
        self._verdicts = apps.places.verdicts
        self._instances = ProcessInstances(instances)
        self._wakeups, self._app_wakeups = wakeups.processes, wakeups.apps
        self._memory = ProcessMemory(stores.records, boot)
        self._locks = SingleLocks(settings.paths)
        self._targets = Targets(self._places)
        self._sockets = NotifySockets(wakeups.processes.wake)
        questions = Questions(self._places, self._targets, self._instances)
        self._checks = Checks(tasks, questions.beside, wakeups.processes.wake)
        self._backlogs = Backlogs(stores, tasks, self._instances, questions.of_number, wakeups.processes.wake)
        self._planner: Planner[AppProcess, ObservedProcess, Plan[Action]] = Planner(_planned)
        self._desired: dict[str, AppProcess] = {}
        self._of_app: dict[str, list[str]] = {}

    # Desired state

    def follow(self, desired: DesiredState) -> Mapping[str, AppProcess]:
        """Learn what is desired, and return the processes."""
        self._desired = processes_of(desired.apps)
        self._of_app = {}
        for name in (*self._desired, *self.names()):
            self._of_app.setdefault(parts_of(name)[0], []).append(name)
        heard = [(live, x) for name, x in self._desired.items() if _is_heard(x) for live in self._instances.lives(name)]
        self._sockets.listen_again((live, self._paths.scratch(x.app), x.process.watchdog_s) for live, x in heard)
        return self._desired

    def names(self) -> frozenset[str]:
        """Return every process that runs or is remembered, whether or not a manifest asks for it."""
        return self._instances.keys() | self._memory.names()

    def given(self, app: str | None = None) -> frozenset[str]:
        """Return the ids of the secrets that processes of an app, or of all, took from files of their own of late."""
        return self._memory.given(app)

    def running(self) -> frozenset[str]:
        """Return every process that has an instance."""
        return self._instances.keys()

    def on_report(self, subject: Subject, report: Report | None) -> None:
        """Look at the processes of an app that was reported on: another revision may serve."""
        if subject.kind == "app":
            for name in self._of_app.get(subject.name, ()):
                self._wakeups.wake(name)
            if report is None:
                self._targets.forget(subject.name)

    def restored(self) -> None:
        """Tell of each instance that an earlier daemon left, and that runs."""
        for name in self.running():
            for live in self._instances.lives(name):
                live.says_ready = True  # it may have said so to nobody; alive it is
                self._record(name, "adopted", f"{_number(live)} (pid {live.record.pid}) runs on", "the daemon started")

    # The World

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def plan(self, name: str, asked: AppProcess | None) -> Plan[Action]:
        """Plan what to do about a process now."""
        return self._planner.plan(name, asked, self.observe(name, asked), self.now())

    def when_failing(self, name: str) -> AppState:
        """Return the state of a process whose next action keeps failing: degraded while some of it runs."""
        return "degraded" if any(i.runs for i in self._instances.of(name)) else "failing"

    def observe(self, name: str, asked: AppProcess | None) -> ObservedProcess:
        """Return what is true of a process now; cheap, and without an effect."""
        app, process = parts_of(name)
        instances = self._instances.of(name)
        residue = name in self._memory
        if asked is None:
            return ObservedProcess(instances=instances, has_residue=residue)
        found = self._targets.of(app, asked.process)
        single = found.target is not None and asked.process.is_single(found.target.command) and not instances
        outlived = single and not self._instances.is_clearing and self._locks.is_held(app, process)
        return ObservedProcess(
            target=found.target,
            trouble=found.trouble,
            lacking=found.lacking,
            stale=found.stale,
            held=self._held(name, asked),
            instances=instances,
            crashes=self._memory.crashes(name),
            restart_before=self._memory.restart_before(name),
            is_locked=single and (outlived or self._instances.is_clearing),
            outlived=outlived,
            has_residue=residue,
            scaling=self._backlogs.of(name),
        )

    async def do(self, name: str, action: Action) -> None:  # noqa: C901  one line for each action
        """Carry out one action. Raises OSError or sqlite3.Error if it fails."""
        match action:
            case StartProcess():
                await self._start(name, action)
            case MarkReady():
                self._mark_ready(name, action)
            case StopProcess():
                self._stop(name, action)
            case SignalProcess():
                self._instances.signal(name, action.instance, action.step, action.signal)
                self._tell(name, action.instance, "stopping", f"gets SIG{action.signal}", action)
            case KillProcess():
                self._instances.kill(name, action.instance)
                self._tell(name, action.instance, "stopping", "is killed with all that it started", action)
            case ReapProcess():
                self._reap(name, action)
            case EndHolders():
                await self._end_holders(name, action)
            case ChangeStop():
                self._instances.change_stop(name, action.instance, action.stop)
            case ApplyLimits():
                if self._instances.apply_limits(name, action.instance, action.limits):
                    text = f"is limited to {action.limits.told() or 'nothing'}"
                    self._tell(name, action.instance, "scaled", text, action)
            case ForgetProcess():
                self._forget(name)

    def report(self, name: str, report: Report) -> None:
        """Store a report, and tell the app what its processes say of it."""
        app, process = parts_of(name)
        report = replace(report, message=self._stores.journal.redacted(Subject("app", app), report.message))
        asked = self._desired.get(name)
        self._checks.update(name, asked, self._instances.lives(name))
        self._backlogs.update(name, None if report.state in {"stopped", "stopping"} else asked)
        if asked is None:
            return
        desired = None if asked.process.scale is None else self._desired_number(name, asked)
        is_news = self._memory.report(name, report, report.failures, desired)
        if is_news and report.state in _AILING and report.message:
            self._record(name, "failed", f"{process}: {report.message}", reason=report.reason)
        ailing = report.message or report.state if report.state in _AILING else ""
        if self._verdicts.note(app, process, ailing=ailing, proven_at=self._proven_at(name, asked)):
            self._app_wakeups.wake(app)

    def request(self, name: str, kind: str) -> None:
        """Take a request of an operator about a process: `restart`, `stop` or `start`."""
        asked = self._desired[name]
        if kind == "restart":
            self._memory.restart(name, self.now())
        else:
            self._memory.stop(name, asked.fingerprint if kind == "stop" else "")
        self._wakeups.wake(name)

    def figures(self) -> dict[str, Any]:
        """Return how many of each process are desired, run, start and drain, and how many crashed, as JSON data."""
        return {
            "processes": {
                name: {
                    "desired": 0 if asked.stops else self._desired_number(name, asked),
                    "running": sum(1 for i in seen if i.runs and i.ready_at is not None),
                    "starting": sum(1 for i in seen if i.runs and i.ready_at is None),
                    "draining": sum(1 for i in seen if i.drains),
                }
                for name, asked in self._desired.items()
                for seen in (self._instances.of(name),)
            },
            "process_crashes": {name: self._memory.crash_count(name) for name in self._desired},
        }

    async def stop_all(self) -> None:
        """End every instance for good, each in its own way; nothing converges any more."""
        from reconciler.planning.processes.plan import stop_everything

        cause = Cause(Reason.STOPPED_BY_OPERATOR, "the daemon ends with all its apps")
        while self.running():
            for name in self.running():
                planned = stop_everything(ObservedProcess(instances=self._instances.of(name)), cause, self.now())
                for action in planned.actions:
                    await self.do(name, action)
            await asyncio.sleep(_LOOK_EVERY_S)

    # What is observed

    def _held(self, name: str, asked: AppProcess) -> Cause | None:
        if self._memory.stopped(name) == asked.fingerprint:
            return _STOPPED
        override = self._stores.history.of(asked.app).override
        if override is not None and override.kind == "stopped" and override.holds_for == asked.app_fingerprint:
            return _APP_STOPPED
        return None

    def _proven_at(self, name: str, asked: AppProcess) -> float:
        """Return when what runs of a required process will have passed its probation; never too late to wait for."""
        if not asked.process.required:
            return _NEVER
        running = [i for i in self._instances.of(name) if i.runs]
        times = [(i.ready_at if i.ready_at is not None else float("inf")) + asked.probation_s for i in running]
        return max(times, default=_NEVER)

    def _desired_number(self, name: str, asked: AppProcess) -> int:
        from reconciler.planning.processes.plan import count_now

        seen = ObservedProcess(instances=self._instances.of(name), scaling=self._backlogs.of(name))
        return count_now(asked.process, seen)

    # The actions

    async def _start(self, name: str, action: StartProcess) -> None:
        asked = self._desired[name]
        app, process = parts_of(name)
        revision = self._targets.revision(app, action.target.revision)
        if revision is None:
            return
        lock = None
        try:
            place = self._places.of(revision)
            if asked.process.is_single(action.target.command):
                lock = self._locks.take(app, process)
                if lock is None:
                    return
            self._memory.give(name, action.target.secrets.values())
            await self._launch(ProcessPlace(
                asked=asked, slot=action.slot, place=place, command=action.target.command,
                secrets=self._places.values_of(action.target.secrets),
            ), action, lock)  # fmt: skip
        except CannotStart as error:
            reason = self._stores.journal.redacted(Subject("app", app), str(error))
            self._memory.crashed(name, action.slot, replace(action.crash, reason=reason, last_at=self.now()))
            self._record(name, "failed", f"{process}.{action.slot}: {reason}", reason=Reason.ACTION_FAILED)
        finally:
            if lock is not None:
                os.close(lock)

    async def _launch(self, where: ProcessPlace, action: StartProcess, lock: int | None) -> None:
        process, opened = where.asked.process, None
        if _is_heard(where.asked):
            path = where.place.paths.scratch / f"{PREFIX}{os.urandom(4).hex()}"
            opened = self._sockets.open(path)
            where = replace(where, notify=variables(path, process.watchdog_s))
        try:
            live = await self._instances.start(where.program(action.version), where.place.paths, lock)
        except BaseException:
            if opened is not None:
                self._sockets.discard(opened)
            raise
        if opened is not None:
            self._sockets.listen(live, opened, process.watchdog_s, says_ready=isinstance(process.ready, Notifies))

    def _mark_ready(self, name: str, action: MarkReady) -> None:
        self._instances.mark_ready(name, action.instance)
        found, asked = self._found(name, action.instance), self._desired.get(name)
        if found is not None:
            lives = asked is not None and isinstance(asked.process.ready, After)
            text = f"is up after {span(self.now() - found.started_at)}"
            self._tell(name, action.instance, "ready", text, replace(action, cause="") if lives else action)

    def _stop(self, name: str, action: StopProcess) -> None:
        found = self._found(name, action.instance)
        self._instances.stop(name, action.instance)
        if found is not None and action.crash is not None:
            self._crashed(name, found, action.crash)
        self._tell(name, action.instance, "stopping", "is told to finish", action)

    def _reap(self, name: str, action: ReapProcess) -> None:
        found = self._found(name, action.instance)
        if found is None:
            return
        self._sockets.close(action.instance)
        told: EventKind = "exited" if action.crash is not None else "stopped"
        self._tell(name, action.instance, told, found.end or "", action)
        self._instances.reap(name, action.instance)
        if action.crash is not None:
            self._crashed(name, found, action.crash)
        self._app_wakeups.wake(parts_of(name)[0])  # which may wait for its build not to be used any more

    def _crashed(self, name: str, instance: ProcessInstance, crash: Crash) -> None:
        app, process = parts_of(name)
        reason = self._stores.journal.redacted(Subject("app", app), crash.reason)
        self._memory.crashed(name, instance.slot, replace(crash, reason=reason))
        self._memory.count_crash(name)
        asked = self._desired.get(name)
        if crash.blames and asked is not None and asked.process.required:
            text = f"its process {process}.{instance.slot} {reason}"
            self._verdicts.blame(app, ProcessFailure(revision=instance.revision, reason=text, at=crash.last_at))
            self._app_wakeups.wake(app)

    async def _end_holders(self, name: str, action: EndHolders) -> None:
        app, process = parts_of(name)
        for pid in await asyncio.to_thread(self._locks.end_holders, app, process):
            self._record(name, "stopped", f"{process}: pid {pid} was killed", action.cause, action.reason)

    def _forget(self, name: str) -> None:
        app, process = parts_of(name)
        self._memory.forget(name)
        self._verdicts.forget(app, process)
        self._locks.forget(app, process)
        self._record(name, "removed", f"{process} was removed; its logs are kept", "its manifest does not name it")
        self._app_wakeups.wake(app)

    def _found(self, name: str, instance: str) -> ProcessInstance | None:
        return next((i for i in self._instances.of(name) if i.id == instance), None)

    def _tell(self, name: str, instance: str, kind: EventKind, text: str, action: Action) -> None:
        found, (_, process) = self._found(name, instance), parts_of(name)
        if found is not None:
            said = f"{process}.{found.slot} (pid {found.pid}) {text}"
            self._record(name, kind, said, action.cause if action.cause not in text else "", action.reason)

    def _record(self, name: str, kind: EventKind, text: str, cause: str = "", reason: str = "") -> None:
        app, process = parts_of(name)
        self._stores.record_event(app, kind, text, cause, reason, process=process)


def _is_heard(asked: AppProcess) -> bool:
    return isinstance(asked.process.ready, Notifies) or asked.process.watchdog_s is not None


def _number(live: LiveInstance) -> str:
    return f"{live.record.process}.{live.record.slot}"


def _planned(asked: AppProcess | None, observed: ObservedProcess, now: float) -> Plan[Action]:
    from reconciler.planning.processes.plan import plan  # most hosts have none

    return plan(asked, observed, now)
