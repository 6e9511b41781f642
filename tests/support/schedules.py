"""A host that does what the plans of schedules say, on a wall clock that anything may happen to."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from reconciler.planning.apps.app import AskedState
from reconciler.planning.schedules.actions import (
    Action,
    Bury,
    Forget,
    Miss,
    Note,
    Owe,
    Remember,
    Skip,
    Start,
    Stop,
)
from reconciler.planning.schedules.due import Next
from reconciler.planning.schedules.history import History
from reconciler.planning.schedules.observed import Observed, ObservedSchedule, Occurrence, Record, RecordState
from reconciler.planning.schedules.plan_schedules import plan
from reconciler.planning.schedules.schedule import Schedule
from reconciler.planning.schedules.schedule_plan import SchedulePlan

ENDED = frozenset({"succeeded", "failed", "skipped", "missed"})


@dataclass
class Host:
    """What one daemon after another makes of some schedules; `took_s` is how long each task runs."""

    asked: Sequence[Schedule]
    wall: float
    took_s: float = 1.0
    state: AskedState = "running"
    deployed: bool = True
    fails: int = 0  # how many attempts of each occurrence fail
    monotonic: float = 1000.0
    records: dict[Occurrence, Record] = field(default_factory=dict)
    histories: dict[str, History] = field(default_factory=dict)
    kept: Mapping[str, Next] = field(default_factory=dict)
    running: dict[Occurrence, float] = field(default_factory=dict)  # with the monotonic second at which it ends
    started: list[tuple[Occurrence, int]] = field(default_factory=list)
    skipped: list[Occurrence] = field(default_factory=list)
    missed: list[Miss] = field(default_factory=list)
    told: dict[Note, float] = field(default_factory=dict)
    most_at_once: int = 0
    plans: int = 0

    def observed(self) -> Observed:
        found = {}
        for name in {*self.histories, *(each.schedule for each in self.records)}:
            kept = [record for record in self.records.values() if record.occurrence.schedule == name]
            found[name] = ObservedSchedule(history=self.histories.get(name), records=tuple(kept))
        return Observed(state=self.state, deployed=self.deployed, schedules=found)

    def planned(self) -> SchedulePlan:
        self.plans += 1
        return plan(self.asked, self.observed(), self.kept, now=self.wall, monotonic=self.monotonic)

    def settle(self) -> SchedulePlan:
        """Plan and do until nothing is to be done."""
        self._end_tasks()
        for _ in range(50):
            decided = self.planned()
            self.kept = decided.next
            for note in decided.notes:
                self.told.setdefault(note, self.wall)
            if not decided.actions:
                return decided
            for action in decided.actions:
                self.do(action)
        raise AssertionError(f"the plans do not settle: {self.planned().actions}")

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and look whenever the plan says so or a task ends."""
        until = self.monotonic + seconds
        while True:
            decided = self.settle()
            looks = [at for at in (decided.look_again_at, *self.running.values()) if at is not None]
            at = min((*looks, until))
            self.wall += max(0.0, at - self.monotonic)
            self.monotonic = max(at, self.monotonic)
            if at >= until:
                self.settle()
                return

    def off(self, seconds: float) -> None:
        """Let time pass on a host without a daemon, whose tasks are killed; a new one looks then."""
        self.wall += seconds
        self.restart(lost=True)

    def restart(self, *, lost: bool) -> None:
        """Have a new daemon, with its tasks gone or still there; the monotonic clock is another."""
        self.kept = {}
        self.monotonic = 5.0
        for occurrence, record in self.records.items():
            if record.state == "running":
                self.records[occurrence] = replace(record, state="lost" if lost else "running", started_monotonic=None)
        self.running = {} if lost else dict.fromkeys(self.running, self.monotonic + self.took_s)

    def do(self, action: Action) -> None:
        match action:
            case Remember():
                self.histories[action.schedule] = action.history
            case Forget():
                del self.histories[action.schedule]
            case Owe():
                made_up = action.made_up
                record = Record(occurrence=action.occurrence, state="owed", owed_at=self.wall, made_up=made_up)
                self.records.setdefault(action.occurrence, record)
            case Skip():
                self.skipped.append(action.occurrence)
                old = self.records.get(
                    action.occurrence, Record(occurrence=action.occurrence, state="owed", owed_at=self.wall)
                )
                self.records[action.occurrence] = replace(old, state="skipped", ended_at=self.wall)
            case Miss():
                self.missed.append(action)
            case Start():
                record = self.records[action.occurrence]
                assert record.state in {"owed", "failed"}, record
                assert record.attempt == action.number - 1, record
                self.started.append((action.occurrence, action.number))
                self.records[action.occurrence] = replace(
                    record,
                    state="running",
                    attempt=action.number,
                    started_at=self.wall,
                    started_monotonic=self.monotonic,
                    ended_at=None,
                )
                self.running[action.occurrence] = self.monotonic + self.took_s
                self.most_at_once = max(self.most_at_once, len(self.running))
            case Stop():
                del self.running[action.occurrence]
                self.records[action.occurrence] = replace(
                    self.records[action.occurrence], state="failed", ended_at=self.wall, retriable=False
                )
            case Bury():
                self.records[action.occurrence] = replace(
                    self.records[action.occurrence], state="failed", ended_at=self.wall
                )

    def trim(self, keep: int) -> None:
        """Remove the oldest of what has ended, as a history that keeps so many does."""
        ended = [each for each, record in self.records.items() if record.state in ENDED]
        for occurrence in ended[: max(0, len(ended) - keep)]:
            del self.records[occurrence]

    def runs(self) -> Counter[Occurrence]:
        """How often each occurrence was begun as a first attempt."""
        return Counter(occurrence for occurrence, number in self.started if number == 1)

    def _end_tasks(self) -> None:
        for occurrence in [each for each, at in self.running.items() if at <= self.monotonic]:
            del self.running[occurrence]
            record = self.records[occurrence]
            state: RecordState = "failed" if record.attempt <= self.fails else "succeeded"
            self.records[occurrence] = replace(record, state=state, ended_at=self.wall)
