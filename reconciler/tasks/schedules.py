"""The schedules of apps on this host: planned again only when something has changed, or time may have changed it.

What is decided about an occurrence is on record before it starts, together with all else that was decided then.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from math import inf
from typing import TYPE_CHECKING, Any

from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import App, AskedState
from reconciler.planning.schedules.actions import Action, Note
from reconciler.planning.schedules.history import History
from reconciler.planning.schedules.observed import Observed, ObservedSchedule, Occurrence
from reconciler.planning.schedules.schedule import Schedule
from reconciler.planning.schedules.schedule_plan import SchedulePlan
from reconciler.planning.tasks.observed import NO_SCHEDULES
from reconciler.planning.tasks.occurrences import occurrence_of, records_of
from reconciler.planning.tasks.task import Task
from reconciler.state.records import Records
from reconciler.tasks.open_tasks import OpenTasks

if TYPE_CHECKING:
    from reconciler.planning.tasks.decisions import Known

# Of a schedule: enough for the median of the last ten, and for what is tried again.
_MOST_RECORDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    asked: Sequence[Schedule]
    state: AskedState
    deployed: bool
    plan: SchedulePlan


class Schedules:
    """The histories of schedules and their plans; `wall_clock` returns seconds since 1970."""

    def __init__(self, records: Records, tasks: OpenTasks, boot: str, wall_clock: Callable[[], float]) -> None:
        self._log = records.task_log
        self._tasks = tasks
        self._boot = boot
        self._wall_clock = wall_clock
        self._histories: dict[str, dict[str, History]] = {}
        self._plans: dict[str, _Planned] = {}
        self._told: dict[str, frozenset[Note]] = {}

    def restore(self) -> None:
        """Read the histories that an earlier daemon recorded. Raises sqlite3.Error."""
        for app, histories in self._log.histories().items():
            for name, text in histories.items():
                with suppress(ValueError, KeyError, TypeError):  # written by another version: its times begin to count
                    self._histories.setdefault(app, {})[name] = _history_from(text)

    def last_tasks(self) -> list[Task]:
        """Return the last task of each schedule that there is, of those that have one. Raises sqlite3.Error."""
        last = self._log.last_of_schedules()
        return [task for (app, name), task in last.items() if name in self._histories.get(app, {})]

    def __contains__(self, app: str) -> bool:
        return app in self._histories

    def apps(self) -> frozenset[str]:
        """Return the apps that have, or had, a schedule."""
        return frozenset(self._histories)

    def plan(self, app: App, state: AskedState, monotonic: float, *, deployed: bool) -> SchedulePlan:
        """Return what is planned for the schedules of an app; `deployed` says that a revision could run them."""
        last = self._plans.get(app.name)
        if not app.schedules and app.name not in self:
            return NO_SCHEDULES
        is_same = last is not None and (last.asked, last.state, last.deployed) == (app.schedules, state, deployed)
        if last is not None and is_same and _holds(last.plan, monotonic):
            return last.plan
        from reconciler.planning.schedules.plan_schedules import plan  # most hosts have no schedules

        observed = Observed(state=state, deployed=deployed, schedules=self._observed(app))
        kept = {} if last is None else last.plan.next
        made = plan(app.schedules, observed, kept, now=self._wall_clock(), monotonic=monotonic)
        self._plans[app.name] = _Planned(asked=app.schedules, state=state, deployed=deployed, plan=made)
        self._told[app.name] = self.told(app.name) & frozenset(made.notes)
        return made

    def next(self, app: str) -> SchedulePlan:
        """Return the last plan for an app, an empty one if there is none."""
        last = self._plans.get(app)
        return NO_SCHEDULES if last is None else last.plan

    def look_again(self, app: str) -> None:
        """Plan the schedules of an app again: a task of it has changed, or the clock was set."""
        last = self._plans.get(app)
        if last is not None:
            self._plans[app] = replace(last, plan=replace(last.plan, look_again_at=-inf))

    def told(self, app: str) -> frozenset[Note]:
        """Return the notes on schedules of an app that stand and were told."""
        return self._told.get(app, frozenset())

    def tell(self, app: str, note: Note) -> None:
        """Note that a note was told."""
        self._told[app] = self.told(app) | {note}

    def forget_app(self, app: str) -> None:
        """Forget the schedules of an app that was removed."""
        if app in self._histories:
            self._tasks.record(app, (), dict.fromkeys(self._histories.pop(app)))
        self._plans.pop(app, None)
        self._told.pop(app, None)

    def record(self, app: App, decided: Sequence[Action]) -> tuple[Task, ...]:
        """Put on record what was decided, all of it or nothing; return the tasks that have ended by it."""
        from reconciler.planning.tasks.decisions import Decisions

        decisions = Decisions(known=self._known(app))
        decisions.take(decided)
        tasks = tuple(decisions.tasks.values())
        histories = {
            name: None if history is None else json.dumps(asdict(history))
            for name, history in decisions.histories.items()
        }
        self._tasks.record(app.name, tasks, histories)
        kept = {**self._histories.get(app.name, {}), **decisions.histories}
        self._histories[app.name] = {name: history for name, history in kept.items() if history is not None}
        if not self._histories[app.name]:
            del self._histories[app.name]
        self.look_again(app.name)
        return tuple(task for task in tasks if not task.is_open)

    def triggered(self, app: App, schedule: Schedule, who: str) -> Task:
        """Return the task of a schedule that an operator wants out of turn, at a time that no other one has."""
        from reconciler.planning.tasks.decisions import new_task

        known = self._known(app)
        at = int(known.now)
        while Occurrence(schedule.name, schedule.id, at) in known.attempts:
            at += 1
        occurrence = Occurrence(schedule.name, schedule.id, at)
        return replace(new_task(schedule, occurrence, known, f"triggered by {who}"), asked_by=who)

    def _known(self, app: App) -> "Known":
        from reconciler.planning.tasks.decisions import Known

        recorded = (task for each in self._recorded(app.name).values() for task in reversed(each))
        attempts = {occurrence: task for task in recorded if (occurrence := occurrence_of(task)) is not None}
        schedules = {schedule.name: schedule for schedule in app.schedules}
        return Known(schedules=schedules, attempts=attempts, now=self._wall_clock(), new_id=self._tasks.new_id)

    def _observed(self, app: App) -> Mapping[str, ObservedSchedule]:
        histories, recorded = self._histories.get(app.name, {}), self._recorded(app.name)
        names = {*histories, *(schedule.name for schedule in app.schedules)}
        return {
            name: ObservedSchedule(history=histories.get(name), records=records_of(recorded.get(name, ()), self._boot))
            for name in names
        }

    def _recorded(self, app: str) -> dict[str, list[Task]]:
        """Return the newest tasks of each schedule, and every one that is open; what is in memory counts."""
        found = self._log.of_schedules(app, _MOST_RECORDS)
        for task in self._tasks.and_unrecorded(app):
            if task.kind == "schedule":
                others = [each for each in found.get(task.schedule, []) if each.id != task.id]
                found[task.schedule] = [task, *others]
        return found


def _history_from(text: str) -> History:
    data: dict[str, Any] = json.loads(text)
    lived = tuple((int(start), int(end)) for start, end in data["lived"])
    return History(id=str(data["id"]), lived=lived, suspended=str(data["suspended"]))


def _holds(planned: SchedulePlan, monotonic: float) -> bool:
    return planned.look_again_at is None or monotonic < planned.look_again_at
