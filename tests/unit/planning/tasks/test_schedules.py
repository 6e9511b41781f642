"""The tasks of schedules on a virtual clock: each occurrence begins each attempt once, whoever is killed when."""

import json
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.schedules.actions import Miss, Owe, Skip, Start, Stop
from reconciler.planning.schedules.history import History
from reconciler.planning.schedules.observed import Observed, ObservedSchedule, Occurrence
from reconciler.planning.schedules.plan_schedules import plan as plan_schedules
from reconciler.planning.schedules.schedule import Retries, Schedule
from reconciler.planning.schedules.schedule_plan import SchedulePlan
from reconciler.planning.tasks.actions import DropTask, EndTask, KillTask, RecordEnd, RecordOccurrences, StartTask, Tell
from reconciler.planning.tasks.admission import admitted, held
from reconciler.planning.tasks.decisions import Decisions, Known
from reconciler.planning.tasks.observed import ObservedTasks
from reconciler.planning.tasks.occurrences import occurrence_of, records_of
from reconciler.planning.tasks.plan import plan
from reconciler.planning.tasks.task import Task

CLEANUP = Schedule(app="shop", name="cleanup", command=("python", "-V"), every_s=60.0)


@dataclass
class Host:
    """One app on a host with a wall clock that may be set; what is written here survives the daemon."""

    schedules: tuple[Schedule, ...]
    chance: random.Random
    concurrency: int = 2
    wall: float = 1_700_000_000.0
    monotonic: float = 100.0
    tasks: dict[str, Task] = field(default_factory=dict)
    histories: dict[str, History] = field(default_factory=dict)
    begun: Counter[tuple[Occurrence | None, int]] = field(default_factory=Counter)
    processes: set[str] = field(default_factory=set)
    ids: "count[int]" = field(default_factory=count)

    def known(self) -> Known:
        attempts = {each: task for task in self.tasks.values() if (each := occurrence_of(task)) is not None}
        return Known(
            schedules={each.name: each for each in self.schedules}, attempts=attempts, now=self.wall,
            new_id=lambda: f"{next(self.ids):08x}",
        )  # fmt: skip

    def observed(self) -> ObservedTasks:
        tasks = tuple(task for task in self.tasks.values() if task.is_open)
        found = {
            name: ObservedSchedule(
                history=self.histories.get(name),
                records=records_of((task for task in self.tasks.values() if task.schedule == name), "boot"),
            )
            for name in {*self.histories, *(each.name for each in self.schedules)}
        }
        planned = plan_schedules(self.schedules, Observed(schedules=found), {}, now=self.wall, monotonic=self.monotonic)
        return ObservedTasks(
            tasks=tasks,
            ended=frozenset(t.id for t in tasks if t.state == "running" and t.id not in self.processes),
            admitted=admitted(tasks, self.concurrency, held(tasks, planned, "")),
            schedules=planned,
            told=frozenset(planned.notes),
        )

    def converge(self, kills: bool) -> None:
        """Do first actions until there are none; a daemon that is killed does not do the next one."""
        for _ in range(500):
            first = plan(self.observed(), self.monotonic).first
            if first is None or (kills and self.chance.random() < 0.2):
                return
            self.do(first)
        raise AssertionError("it goes on and on")

    def do(self, action: object) -> None:
        match action:
            case RecordOccurrences():
                decisions = Decisions(known=self.known())
                decisions.take(action.decided)
                self.tasks |= {task.id: task for task in decisions.tasks.values()}
                for name, history in decisions.histories.items():
                    self.histories.pop(name, None)
                    if history is not None:
                        self.histories[name] = history
            case StartTask():
                task = self.tasks[action.task]
                self.begun[occurrence_of(task), task.attempt] += 1
                self.processes.add(task.id)
                self.tasks[task.id] = replace(
                    task, state="running", started_at=self.wall, started_monotonic=self.monotonic, boot="boot"
                )
            case RecordEnd():
                worked = self.chance.random() < 0.6
                self.tasks[action.task] = replace(
                    self.tasks[action.task], state="succeeded" if worked else "failed", ended_at=self.wall
                )
            case EndTask():
                self.tasks[action.task] = replace(self.tasks[action.task], told_at=self.wall)
                self.processes.discard(action.task)
            case DropTask():
                self.tasks[action.task] = replace(self.tasks[action.task], state="cancelled", ended_at=self.wall)
            case Tell() | KillTask():
                raise AssertionError(action)


schedules = st.builds(
    Schedule,
    app=st.just("shop"),
    name=st.just("cleanup"),
    command=st.just(("python", "-V")),
    at=st.just("*/5 * * * *"),
    overlap=st.sampled_from(["skip", "queue", "replace", "allow"]),
    missed=st.sampled_from(["once", "skip", "all"]),
    retries=st.builds(Retries, count=st.integers(0, 2), first_s=st.just(30.0)),
)


@given(schedules, st.integers(0, 2**32), st.booleans())
def test_no_attempt_of_an_occurrence_begins_twice_whatever_the_clock_does_and_whoever_is_killed(
    schedule: Schedule, seed: int, steps: bool
) -> None:
    chance = random.Random(seed)
    host = Host((schedule,), chance)
    for _ in range(12):
        passed = chance.choice([1.0, 30.0, 200.0, 300.0, 4000.0])
        host.monotonic += passed
        host.wall += passed + (chance.choice([0, 0, -3600.0, 3600.0, 86400.0, -40.0]) if steps else 0)
        for task in sorted(host.processes):
            if chance.random() < 0.5:
                host.processes.discard(task)
        host.converge(kills=True)
    host.converge(kills=False)
    assert set(host.begun.values()) <= {1}
    attempts = Counter(occurrence_of(task) for task in host.tasks.values() if task.started_at is not None)
    assert max(attempts.values(), default=0) <= 1 + schedule.retries.count
    running = [task for task in host.tasks.values() if task.state == "running"]
    assert len(running) <= (host.concurrency if schedule.overlap == "allow" else 1)


@pytest.mark.parametrize(("missed", "made_up"), [("once", 1), ("skip", 0), ("all", 10)])
def test_after_three_days_off_what_was_missed_is_made_up_for_as_said_and_told(missed: str, made_up: int) -> None:
    host = Host((replace(CLEANUP, every_s=None, at="* * * * *", missed=missed),), random.Random(1))  # type: ignore[arg-type]
    host.converge(kills=False)
    for each in (60.0, 3 * 86400.0):
        host.wall, host.monotonic = host.wall + each, host.monotonic + each
        for _ in range(40):
            host.processes.clear()
            host.converge(kills=False)
    ran = [task for task in host.tasks.values() if task.made_up]
    assert len(ran) == made_up
    assert all(task.state in {"succeeded", "failed"} for task in ran)
    (told,) = (task for task in host.tasks.values() if task.state == "missed")
    assert told.ending.startswith(f"the times of {3 * 1440} occurrences passed while")
    assert told.ending.endswith(f"; {made_up} of them made up for") is (made_up > 0)


def test_a_decision_about_a_schedule_that_is_gone_leaves_nothing() -> None:
    decisions = Decisions(known=Known(schedules={}, attempts={}, now=5.0, new_id=lambda: "00000001"))
    gone = Occurrence("cleanup", "id", 60)
    decisions.take([
        Owe(occurrence=gone, cause=""), Skip(occurrence=gone, cause=""), Stop(occurrence=gone, cause=""),
        Start(occurrence=gone, number=2, cause=""),
        Miss(schedule="cleanup", id="id", count=3, first=60, last=180, made_up=0, cause=""),
    ])  # fmt: skip
    assert (decisions.tasks, decisions.histories) == ({}, {})


def test_a_second_attempt_is_another_task_and_a_stop_says_why() -> None:
    first = Task(
        id="00000001", app="shop", kind="schedule", name="cleanup", command=json.dumps(["python"]), state="failed",
        owed_at=1.0, timeout_s=9.0, schedule="cleanup", fingerprint=CLEANUP.id, planned_at=60.0, made_up=True,
    )  # fmt: skip
    occurrence = Occurrence("cleanup", CLEANUP.id, 60)
    known = Known(schedules={"cleanup": CLEANUP}, attempts={occurrence: first}, now=99.0, new_id=lambda: "00000002")
    decisions = Decisions(known=known)
    decisions.take([Start(occurrence=occurrence, number=2, cause="attempt 1 failed")])
    (again,) = decisions.tasks.values()
    assert (again.id, again.attempt, again.made_up, again.state, again.owed_at) == ("00000002", 2, True, "owed", 99.0)
    assert records_of([first, again], "")[0].attempt == 1, "of one that is owed again, one attempt was made"
    decisions.take([Stop(occurrence=occurrence, cause="a newer one takes its place")])
    assert decisions.tasks[occurrence].cancelled_by == "the daemon, as a newer one takes its place"


def test_what_waits_for_another_task_of_its_schedule_takes_the_slot_of_no_other_schedule() -> None:
    # By the names of the tasks the one that waits comes first.
    long = Schedule(app="shop", name="aaa", command=("sleep",), at="* * * * *", overlap="queue")
    host = Host((long, replace(long, name="minute", overlap="skip")), random.Random(1))
    host.converge(kills=False)
    for _ in range(3):
        host.monotonic += 60.0
        host.wall += 60.0
        host.converge(kills=False)
        for task in [each for each in host.processes if host.tasks[each].schedule == "minute"]:
            host.processes.discard(task)
        host.converge(kills=False)
    begun = Counter(each.schedule for (each, _), _ in host.begun.items() if each is not None)
    assert begun == {"aaa": 1, "minute": 3}


def test_tasks_of_an_app_that_is_not_ready_are_in_no_queue() -> None:
    owed = replace(next(iter(_owed())), kind="task", schedule="", planned_at=None)
    assert held([owed], SchedulePlan(), "") == frozenset()
    assert held([owed], SchedulePlan(), "no revision of it was served yet") == {owed.id}


def _owed() -> tuple[Task, ...]:
    host = Host((CLEANUP,), random.Random(1))
    host.converge(kills=False)
    host.wall += 60.0
    host.do(next(each for each in plan(host.observed(), 0.0).actions if isinstance(each, RecordOccurrences)))
    return tuple(host.tasks.values())
