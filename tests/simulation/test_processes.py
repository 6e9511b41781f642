"""Processes in a hostile world: daemons that die between any two instructions, programs that crash, hang and linger."""

import random
from dataclasses import dataclass, field, replace

import pytest

from reconciler.planning.apps.app import CrashPolicy
from reconciler.planning.command_line import command_of
from reconciler.planning.processes.actions import (
    Action,
    ChangeStop,
    EndHolders,
    KillProcess,
    MarkReady,
    ReapProcess,
    SignalProcess,
    StartProcess,
    StopProcess,
)
from reconciler.planning.processes.observed import Crash, ObservedProcess, ProcessInstance
from reconciler.planning.processes.plan import MOST_DRAINING, plan
from reconciler.planning.processes.process import After, AppProcess, Process, Target
from reconciler.planning.processes.stop import StopSequence, StopStep

COMMAND = command_of("python worker.py")
STOP = StopSequence((StopStep("TERM", 60.0), StopStep("QUIT", 10.0)))


def target(release: int) -> Target:
    return Target(revision=f"r{release}", build=f"b{release}", inputs=f"i{release}", command=COMMAND)


class Killed(Exception):
    """The daemon was killed here."""


@dataclass
class Program:
    """A program: it ends so long after SIGTERM, or crashes; a child of it holds its lock a little longer."""

    ends_after: float
    crashes_at: float
    child_lingers: float
    signals: list[tuple[float, str]] = field(default_factory=list)
    ended_at: float | None = None
    killed: bool = False

    def live(self, now: float) -> None:
        if self.ended_at is None and now >= self.crashes_at:
            self.ended_at = now
        if self.ended_at is None and self.signals and now >= self.signals[0][0] + self.ends_after:
            self.ended_at = now

    def holds_lock(self, now: float) -> bool:
        return self.ended_at is None or (not self.killed and now < self.ended_at + self.child_lingers)


@dataclass
class Ground:
    """What outlives every daemon, and a clock."""

    chance: random.Random
    asked: AppProcess
    now: float = 1000.0
    release: int = 1
    finds_holders: bool = False
    deaths: float = 0.0
    crashy: float = 0.0
    records: dict[str, ProcessInstance] = field(default_factory=dict)
    programs: dict[str, Program] = field(default_factory=dict)
    crashes: dict[int, Crash] = field(default_factory=dict)
    started: int = 0
    most_alive: int = 0

    @property
    def single(self) -> bool:
        return bool(self.asked.process.single)

    def locked(self) -> bool:
        return any(program.holds_lock(self.now) for program in self.programs.values())

    def observed(self) -> ObservedProcess:
        for instance, program in self.programs.items():
            program.live(self.now)
            record = self.records.get(instance)
            if record is not None and program.ended_at is not None and record.end is None:
                self.records[instance] = replace(record, end="ended")
        instances = tuple(sorted(self.records.values(), key=lambda i: i.started_at))
        return ObservedProcess(
            target=target(self.release), instances=instances, crashes=dict(self.crashes),
            is_locked=(held := self.single and not instances and self.locked()),
            outlived=held and self.finds_holders,
        )  # fmt: skip

    def may_die(self) -> None:
        if self.chance.random() < self.deaths:
            raise Killed

    def do(self, action: Action) -> None:  # noqa: C901  one case for each action
        """Carry out an action as the real World does, in the same order, and die between any two effects of it."""
        self.may_die()
        match action:
            case StartProcess():
                if self.single and self.locked():
                    return
                self.start(action)
            case MarkReady():
                self.change(action.instance, ready_at=self.now)
            case StopProcess():
                assert self.records[action.instance].stopping_since is None
                if action.crash is not None:
                    self.crashes[self.records[action.instance].slot] = action.crash
                self.change(action.instance, stopping_since=self.now, steps=1)
                self.may_die()
                self.send(action.instance, STOP.steps[0].signal)
            case SignalProcess():
                assert self.records[action.instance].steps == action.step
                self.change(action.instance, steps=action.step + 1)
                self.may_die()
                self.send(action.instance, action.signal)
            case KillProcess():
                program = self.programs[action.instance]
                program.ended_at = self.now if program.ended_at is None else program.ended_at
                program.killed = True
                self.may_die()
                self.change(action.instance, steps=len(STOP.steps) + 1)
            case ReapProcess():
                if action.crash is not None:
                    self.crashes[self.records[action.instance].slot] = action.crash
                del self.records[action.instance]
                self.programs[action.instance].killed = True  # and whatever it left
            case EndHolders():
                for program in self.programs.values():
                    program.killed |= program.ended_at is not None
            case ChangeStop():
                self.change(action.instance, stop=action.stop)
        self.may_die()

    def start(self, action: StartProcess) -> None:
        self.started += 1
        name = f"p{self.started}"
        crashes = self.now + self.chance.expovariate(1 / 30) if self.chance.random() < self.crashy else float("inf")
        ends = self.chance.choice([0.0, 1.0, 30.0, 65.0, float("inf")])
        self.programs[name] = Program(ends, crashes, self.chance.choice([0.0, 0.0, 3.0]))
        self.records[name] = ProcessInstance(
            id=name, slot=action.slot, version=action.version, revision=action.target.revision,
            build=action.target.build, pid=self.started, started_at=self.now, stop=STOP,
        )  # fmt: skip

    def change(self, instance: str, **changes: object) -> None:
        self.records[instance] = replace(self.records[instance], **changes)  # type: ignore[arg-type]

    def send(self, instance: str, signal: str) -> None:
        self.programs[instance].signals.append((self.now, signal))

    def converge(self) -> None:
        """One daemon's work at this moment, until nothing is left to do or it dies."""
        for _ in range(200):
            planned = plan(self.asked, self.observed(), self.now)
            self.check()
            if planned.first is None:
                return
            assert not (isinstance(planned.first, StopProcess) and self.breaks_the_law(planned.first))
            try:
                self.do(planned.first)
            except Killed:
                return
        raise AssertionError("it never came to rest")

    def breaks_the_law(self, stop: StopProcess) -> bool:
        """Whether an instance that works is stopped although not all that take its place are ready."""
        instance, version = self.records[stop.instance], target(self.release).version(self.asked.process)
        if self.single or stop.crash is not None or instance.version == version or instance.ready_at is None:
            return False
        ready = {i.slot for i in self.records.values() if i.runs and i.version == version and i.ready_at is not None}
        return len(ready) < self.asked.process.count

    def check(self) -> None:
        holders = [program for program in self.programs.values() if program.holds_lock(self.now)]
        self.most_alive = max(self.most_alive, len(holders))
        if self.single:
            assert len(holders) <= 1
        for program in self.programs.values():
            told = [name for _, name in program.signals]
            assert told in ([], ["TERM"], ["QUIT"], ["TERM", "QUIT"]), told

    def run(self, seconds: float, step: float = 1.0) -> None:
        until = self.now + seconds
        while self.now < until:
            self.converge()
            self.now += step


def ground(seed: int, **different: object) -> Ground:
    chance = random.Random(seed)
    single = bool(different.pop("single", False))
    process = Process(
        name="worker", stop=STOP, single=single, count=1 if single else chance.randint(1, 3),
        ready=After(seconds=5.0),
    )  # fmt: skip
    asked = AppProcess(app="shop", process=process, crash=CrashPolicy(first_s=1, cap_s=60, good_run_s=60))
    return Ground(chance=chance, asked=asked, **different)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(30))
def test_there_are_never_two_of_a_single_process_whoever_dies(seed: int) -> None:
    world = ground(seed, single=True, deaths=0.2, crashy=0.5, finds_holders=seed % 2 == 0)
    for _ in range(8):
        world.run(world.chance.uniform(1, 40), step=0.5)
        world.release += 1
    world.deaths, world.crashy = 0.0, 0.0
    for program in world.programs.values():
        program.crashes_at = float("inf")
    world.run(400)
    (running,) = [i for i in world.records.values() if i.runs]
    assert running.version == target(world.release).version(world.asked.process)
    assert running.ready_at is not None


@pytest.mark.parametrize("seed", range(30))
def test_what_drains_holds_up_no_deploy_and_each_step_is_taken_once(seed: int) -> None:
    world = ground(seed, deaths=0.2, crashy=0.3)
    for _ in range(8):
        world.run(world.chance.uniform(1, 60))
        world.release += 1
    count = world.asked.process.count
    assert world.most_alive <= count * (MOST_DRAINING + 2)
    world.deaths, world.crashy = 0.0, 0.0
    for program in world.programs.values():
        program.crashes_at = float("inf")
    world.run(400)
    running = [i for i in world.records.values() if i.runs]
    assert sorted(i.slot for i in running) == list(range(1, count + 1))
    assert {i.version for i in running} == {target(world.release).version(world.asked.process)}
    world.run(200)
    assert [i for i in world.records.values() if not i.runs] == []


def test_a_deploy_is_up_while_the_one_before_it_still_finishes_its_work() -> None:
    world = ground(1)
    world.run(10)
    for program in world.programs.values():
        program.ends_after = 55.0
    for release in (2, 3, 4):
        world.release = release
        world.run(8)
        version = target(release).version(world.asked.process)
        up = [i for i in world.records.values() if i.runs and i.ready_at is not None]
        assert {i.version for i in up} == {version}
        for program in world.programs.values():
            program.ends_after = 55.0
    assert any(i.drains for i in world.records.values())


def test_a_thousand_crashes_do_not_end_the_restarts() -> None:
    world = ground(1)
    world.asked = replace(world.asked, process=replace(world.asked.process, count=1))
    for _ in range(2002):  # one to notice that it ended, and one to start it
        world.converge()
        for program in world.programs.values():
            program.crashes_at = world.now
        world.now += 76.0  # more than the longest delay with its jitter
    assert world.started >= 1000
    assert world.crashes[1].count >= 999
