"""The tasks of this host as a World: their observation, their plans, and the actions that change them.

No action waits for the end of a task: that wakes its app. A task is on record as begun before its process exists, and
its end before anything of it is removed.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from reconciler.convergence.wake_queue import WakeQueue
from reconciler.convergence.world import Report
from reconciler.host.app_places import AppPlaces
from reconciler.host.stores import Stores
from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import in_words
from reconciler.planning.apps.app import App
from reconciler.planning.apps.revision import Revision
from reconciler.planning.cache import Planner
from reconciler.planning.desired_state import DesiredState
from reconciler.planning.plan import Plan
from reconciler.planning.reason import Reason
from reconciler.planning.schedules.actions import Forget
from reconciler.planning.schedules.schedule import Schedule
from reconciler.planning.subject import Subject
from reconciler.planning.tasks.actions import (
    Action,
    DropTask,
    EndTask,
    KillTask,
    RecordEnd,
    RecordOccurrences,
    StartTask,
    Tell,
)
from reconciler.planning.tasks.admission import held
from reconciler.planning.tasks.observed import NO_SCHEDULES, ObservedTasks
from reconciler.planning.tasks.plan import plan
from reconciler.planning.tasks.task import Task
from reconciler.serving.build_users import Use
from reconciler.serving.live_instance import CannotStart
from reconciler.serving.marks import Marked
from reconciler.state.paths import StatePaths
from reconciler.tasks.clock_watch import ClockWatch
from reconciler.tasks.endings import DAEMON_ENDED, ended, lost, unrecorded
from reconciler.tasks.open_tasks import OpenTasks
from reconciler.tasks.past_tasks import PastTasks
from reconciler.tasks.pings import Pings, When
from reconciler.tasks.results import forget_result, forget_results
from reconciler.tasks.run_records import carried, ended_unrecorded, missing
from reconciler.tasks.runners import GRACE_S, MARGIN_S, Runners, TaskLimits, terminal_socket
from reconciler.tasks.schedule_reports import ScheduleReports, is_final
from reconciler.tasks.schedules import Schedules
from reconciler.tasks.texts import described, masked, told
from reconciler.tasks.variables import ScheduleVariables
from reconciler.vault.secret_reader import SecretReader

_SHORT_OF_A_REVISION = "no revision of it was served yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQueues:
    """The queue of this World, and that of the apps: what a task used may go once it has ended."""

    tasks: WakeQueue
    apps: WakeQueue


class TaskWorld:
    """The World of tasks, one name for each app.

    `state_id` and `boot` are the ids of the state directory and of this boot of the host.
    """

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        paths: StatePaths,
        limits: TaskLimits,
        stores: Stores,
        places: AppPlaces,
        queues: TaskQueues,
        *,
        reader: SecretReader,
        state_id: str,
        boot: str,
    ) -> None:
        self.limits = limits
        self._paths = paths
        self._boot = boot
        self._stores = stores
        self._journal = stores.journal
        self._places = places
        self._queues = queues
        self.open = OpenTasks(stores.records, limits.concurrency)
        self._runners = Runners(paths, limits, places.cells, state_id=state_id, boot=boot, ended=self._on_runner_end)
        self._how: dict[str, str] = {}
        self._runner_ended = asyncio.Event()
        self._counts: Counter[tuple[str, str]] = Counter()
        self.schedules = Schedules(stores.records, self.open, boot, _wall_clock)
        self.variables = ScheduleVariables(places, stores.records)
        self.reports = ScheduleReports(stores)
        self.past = PastTasks(paths, stores.records.task_log, limits.keep_s, self._schedules_of)
        self._pings = Pings(reader, self.reports.ping_failed)
        self._apps: Mapping[str, App] | None = None
        self._planner: Planner[App, ObservedTasks, Plan[Action]] = Planner(lambda _, observed, now: plan(observed, now))

    # Desired state

    def follow(self, desired: DesiredState) -> Mapping[str, App]:
        """Learn which apps are desired; the tasks of others end."""
        self._apps = {name: app.of_host for name, app in desired.apps.items()}
        for name in self.schedules.apps() - self._apps.keys():
            self.schedules.forget_app(name)
            self.variables.given.forget(name)
        for name in self.open.apps() - self._apps.keys():
            self._queues.tasks.wake(name)
        return {name: app for name, app in self._apps.items() if app.schedules or name in self.schedules}

    def names(self) -> frozenset[str]:
        """Return every app with a task that has not ended."""
        return self.open.apps() | self.schedules.apps()

    # What others ask

    def figures(self) -> dict[str, Any]:
        """Return what was done about tasks since this daemon began, in numbers."""
        running = Counter(task.state for task in self.open.all())
        return {
            "tasks": [[kind, state, count] for (kind, state), count in sorted(self._counts.items())],
            "tasks_open": {"owed": running["owed"], "running": running["running"]},
            "schedules_late": self.reports.late,
            "schedules_failing": self.reports.failing,
        }

    def uses(self, app: str) -> Iterable[Use]:
        """Return what the running tasks of an app use."""
        tasks = self.open.of(app)
        running = [task for task in tasks if task.state == "running" and task.revision] if tasks else ()
        return [Use(revision=task.revision, build=task.build) for task in running]

    def revision(self, app: str, wanted: str = "") -> Revision | None:
        """Return the revision that serves an app, or the one that can be started and whose id begins so."""
        if not wanted:
            return self._places.revision_of_tasks(app)
        found = [revision for revision in self._places.startable(app) if revision.id.startswith(wanted)]
        return found[0] if len(found) == 1 else None

    def owe(self, task: Task) -> None:
        """Put a task on record for good that is to be started, and have it started soon. Raises sqlite3.Error."""
        self.open.add(task)
        self.schedules.look_again(task.app)
        self._queues.tasks.wake(task.app)

    def cancel(self, task: Task, who: str) -> None:
        """Have a task end, or not start at all."""
        self.open.put(replace(task, cancelled_by=who), lasting=True)
        self.schedules.look_again(task.app)
        self._queues.tasks.wake(task.app)

    async def end_all(self) -> None:
        """Tell every running task to end, and wait until that is so, or for as long as it may take."""
        for task in self.open.all():
            self._runners.tell(task.id)
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S + MARGIN_S):
                while any(self._runners.has(task.id) for task in self.open.all()):
                    self._runner_ended.clear()
                    await self._runner_ended.wait()

    def on_report(self, subject: Subject, _: Report | None) -> None:
        """Look again at the tasks of an app that may be able to start now."""
        if subject.kind == "app" and (self.open.of(subject.name) or self._schedules_of(subject.name)):
            self._queues.tasks.wake(subject.name)

    async def watch_the_clock(self) -> None:
        """Look at every schedule again when the wall clock was set, until cancelled."""
        await ClockWatch(self._look_at_all_again).run()

    def _look_at_all_again(self) -> None:
        for name in self.schedules.apps():
            self.schedules.look_again(name)
            self._queues.tasks.wake(name)

    def restore(self) -> None:
        """Follow the tasks that an earlier daemon left running; what was never begun is owed again."""
        self.schedules.restore()
        self.reports.restore(self.schedules.last_tasks())
        tasks = self.open.restore()
        found = self._runners.found() if self._paths.tasks.exists() else []
        for task in self._begun_unrecorded(tasks, found):
            self.open.put(task)
        tasks = tuple(self.open.all())
        running = [task for task in tasks if task.state == "running"]
        for task in running:
            if task.kind in {"release", "shell"}:
                self._close(lost(task, DAEMON_ENDED, _wall_clock()))  # no runner has them
                continue
            if task.boot != self._boot:
                continue
            process = self._runners.adopt(task, found)
            if process is not None:
                self.open.put(replace(task, pid=process[0], ticks=process[1]))
            elif task.pid is None and not self._runners.is_claimed(task.id):
                self.open.put(replace(task, state="owed", started_at=None, revision="", build=""))
        led = {process.task for process in found if process.runner}
        self._runners.kill_now(process.pid for process in found if process.task not in led)
        kept = {task.id for task in tasks} | {terminal_socket(self._paths, task.attached).stem for task in tasks}
        forget_results(self._paths.tasks, kept, _wall_clock())

    def _begun_unrecorded(self, tasks: Iterable[Task], found: Iterable[Marked]) -> list[Task]:
        """Return the tasks that have begun, as running, while the database could not be written to."""
        owed = {task.id: task for task in tasks if task.state == "owed"}
        with_runner = list(missing(found, {task.id: task for task in tasks}))
        known = self._stores.records.task_log.ids() | {task.id for task in with_runner}
        with_runner += ended_unrecorded(self._paths.tasks, known.__contains__)
        for task in with_runner:
            owed.pop(task.id, None)
        over = (task for task in owed.values() if self._runners.is_claimed(task.id))
        return with_runner + [replace(task, state="running", boot=self._boot) for task in over]

    # The World

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def plan(self, name: str, asked: App | None) -> Plan[Action]:
        """Plan what to do about the tasks of an app now."""
        return self._planner.plan(name, asked, self.observe(name), self.now())

    def when_failing(self, name: str) -> str:  # noqa: ARG002  it is the same for each
        """Return the state of tasks of which an action fails."""
        return "failing"

    def observe(self, name: str) -> ObservedTasks:
        """Return what is true of the tasks of an app now."""
        tasks, app = self.open.of(name), None if self._apps is None else self._apps.get(name)
        planned, deployed = NO_SCHEDULES, self._places.revision_of_tasks(name) is not None
        if app is not None:
            planned = self.schedules.plan(app, self._places.state(app), self.now(), deployed=deployed)
        unready = "" if deployed else _SHORT_OF_A_REVISION
        if self.open.hold(name, held(tasks, planned, unready)):
            self._wake_waiting(name)
        if not tasks:
            return ObservedTasks(schedules=planned, told=self.schedules.told(name))
        running = [task.id for task in tasks if task.state == "running"]
        overdue = ((task, self._runners.overdue_at(task)) for task in running)
        return ObservedTasks(
            tasks=tasks,
            ended=frozenset(task for task in running if not self._runners.has(task)),
            admitted=self.open.admitted & {task.id for task in tasks},
            removed=self._apps is not None and name not in self._apps,
            unready=unready,
            overdue_at=tuple((task, at) for task, at in overdue if at is not None),
            schedules=planned,
            told=self.schedules.told(name),
        )

    async def do(self, name: str, action: Action) -> None:
        """Carry out one action. Raises sqlite3.Error or OSError if it fails."""
        if isinstance(action, Tell):
            self.schedules.tell(name, action.note)
            self.reports.tell(name, action.note)
        elif isinstance(action, RecordOccurrences):
            self._record_occurrences(name, action)
        elif (task := self.open.get(name, action.task)) is not None:
            await self._do(task, action)
        self._wake_waiting(name)

    def _wake_waiting(self, but: str) -> None:
        """Look again at the other apps that have a task which may start now."""
        for waiting in self.open.waiting() - {but}:
            self._queues.tasks.wake(waiting)

    async def _do(self, task: Task, action: StartTask | EndTask | KillTask | DropTask | RecordEnd) -> None:
        match action:
            case StartTask():
                self._start(task)
            case EndTask():
                self._runners.tell(task.id)
                who = task.cancelled_by or "the daemon, as its app was removed"
                self.open.put(replace(task, told_at=_wall_clock(), cancelled_by=who))
            case KillTask():
                await self._runners.kill(task.id)
            case DropTask():
                who = task.cancelled_by or "the daemon, as its app was removed"
                self._close(replace(task, state="cancelled", ending=f"cancelled by {who}", ended_at=_wall_clock()))
            case RecordEnd():
                await self._record_end(task)

    def report(self, name: str, report: Report) -> None:
        """Tell of an action that failed."""
        if report.failed_now and report.failures == 1:
            self._stores.record_event(name, "task", f"tasks: {report.message}", reason=report.reason)

    # Actions

    def _record_occurrences(self, name: str, action: RecordOccurrences) -> None:
        app = None if self._apps is None else self._apps.get(name)
        if app is None:
            return
        for task in self.schedules.record(app, action.decided):
            self._tell_end(task)
        for each in action.decided:
            if isinstance(each, Forget):
                self.reports.forget(name, each.schedule)

    def _schedules_of(self, name: str) -> tuple[Schedule, ...]:
        app = None if self._apps is None else self._apps.get(name)
        return () if app is None else app.schedules

    def _schedule_of(self, task: Task) -> Schedule | None:
        return next((each for each in self._schedules_of(task.app) if each.name == task.schedule), None)

    def _ping(self, task: Task, when: When) -> None:
        if task.kind == "schedule" and (schedule := self._schedule_of(task)) is not None:
            self._pings.call(schedule, when)

    def _tell_end(self, task: Task) -> None:
        """Tell of the end of a task that is on record."""
        if told(task):
            self._stores.record_event(task.app, "task", described(task), task.cause, _REASONS.get(task.state, ""))
        if task.kind == "schedule":
            self.reports.ended(task, self._schedule_of(task))
            if task.state == "succeeded" or (task.state == "failed" and is_final(task, self._schedule_of(task))):
                self._ping(task, "ok" if task.state == "succeeded" else "failed")
        self._counts[task.kind, task.state] += 1

    def _start(self, task: Task) -> None:
        revision = self.revision(task.app, task.wanted)
        if revision is None:
            self._fail(task, f"cannot start: no revision that begins with {task.wanted} can be started")
            return
        try:
            place = self.variables.added(self._places.of(revision), self._schedule_of(task))
        except (CannotStart, OSError) as error:
            self._fail(task, f"cannot start: {error}")
            return
        begun = replace(
            task,
            state="running",
            revision=revision.id,
            build=revision.build.id,
            boot=self._boot,
            started_at=_wall_clock(),
            started_monotonic=self.now(),
        )
        is_lasting = self.open.put(begun, lasting=True)  # or it could be taken for one that has not begun
        record = carried(masked(self._journal, begun))
        try:
            pid, ticks = self._runners.start(begun, place, record, must_claim=not is_lasting)
        except OSError as error:
            self._fail(begun, f"cannot start: the kernel refused it: {in_words(error)}")
            return
        self.open.put(masked(self._journal, replace(begun, pid=pid, ticks=ticks)))  # nothing starts it again
        self._ping(begun, "start")

    async def _record_end(self, task: Task) -> None:
        result = self._runners.result(task)
        if result is not None:
            said = self._journal.redacted(Subject("app", task.app), result.said)
            self._close(ended(task, replace(result, ended_at=min(result.ended_at, _wall_clock())), said))
            return
        claimed, same_boot = self._runners.is_claimed(task.id), task.boot == self._boot
        if same_boot and claimed:
            await self._runners.end_remains(task.id)
        self._fail(task, unrecorded(same_boot=same_boot, claimed=claimed, how=self._how.get(task.id, "")))

    def _fail(self, task: Task, ending: str) -> None:
        self._close(lost(task, ending, _wall_clock()))

    def _close(self, task: Task) -> None:
        """Put the end of a task on record, and then remove what its runner left."""
        task = replace(
            masked(self._journal, task), ending=self._journal.redacted(Subject("app", task.app), task.ending)
        )
        if self.open.put(task, lasting=True):
            forget_result(self._paths.task_result(task.id))
        self._how.pop(task.id, None)
        self.schedules.look_again(task.app)
        self._tell_end(task)
        self._queues.apps.wake(task.app)

    def _on_runner_end(self, task: Task, how: str) -> None:
        self._how[task.id] = how
        self._runner_ended.set()
        self._queues.tasks.wake(task.app)


_REASONS = {"failed": Reason.TASK_FAILED, "cancelled": Reason.TASK_CANCELLED, "succeeded": Reason.TASK_SUCCEEDED}


def _wall_clock() -> float:
    return time.time()  # noqa: TID251  on record and shown, across boots
