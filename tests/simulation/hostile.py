"""A machine on which everything that can go wrong does, and the Worlds that one daemon after the other sees of it.

What an action leaves behind when it works is what `after` says; when and whether it works is drawn from a seed. The
machine checks at every action what must never happen, and writes down what does.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from reconciler.convergence.world import Report
from reconciler.host.depends_on import DependencyGraph
from reconciler.planning.apps.actions import (
    Action,
    ArmActivation,
    ForgetApp,
    Listen,
    MarkGood,
    ReadSource,
    Reap,
    RecordFailure,
    Release,
    RemoveBuild,
    Scale,
    ServeHoldingPage,
    Sleep,
    Stage,
    Start,
    Stop,
    StopHoldingPage,
    Unlisten,
)
from reconciler.planning.apps.app import App
from reconciler.planning.apps.failures import crash_delay_s
from reconciler.planning.apps.observed import Instance, Observed, Override, SleepState
from reconciler.planning.apps.plan import plan
from reconciler.planning.apps.plan_instances import state_when_failing
from reconciler.planning.apps.retry import Retry
from reconciler.planning.apps.revision import Revision
from reconciler.planning.cache import Planner
from reconciler.planning.plan import Plan
from reconciler.planning.states import AppState
from tests.world import after, born, coming_up, failed, stranding, waiting, with_instance, without_instance

BACKOFF_S = 1.0
LOOKS_A_SECOND = 120


class Killed(BaseException):
    """The daemon is gone: no instruction of it is carried out any more."""


class Forbidden(AssertionError):
    """Something happened that must never happen."""


@dataclass(slots=True, kw_only=True)
class Life:
    """What becomes of a process: whether its workers have passed their gate, and how long it takes to end."""

    passed: bool = False
    drain_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class Machine:
    """What outlives every daemon: processes, builds, sources, records. `trouble` is how likely things go wrong."""

    chance: random.Random
    asked: dict[str, App] = field(default_factory=dict)
    trouble: float = 0.1
    contents: dict[str, str | None] = field(default_factory=dict)
    unstageable: set[str] = field(default_factory=set)
    unstartable: set[str] = field(default_factory=set)
    unreleasable: set[str] = field(default_factory=set)
    shortlived: set[str] = field(default_factory=set)
    things: dict[str, Observed] = field(default_factory=dict)
    lives: dict[str, Life] = field(default_factory=dict)
    story: list[str] = field(default_factory=list)
    wake: Callable[[str], None] = lambda _name: None
    births: int = 0
    actions: int = 0
    # What has happened to each name so far, counted: a failed action may be tried again at once only after a change.
    events: dict[str, int] = field(default_factory=dict)
    crimes: list["Forbidden"] = field(default_factory=list)
    # Since when somebody has waited, by name, for an answer of the app or of the daemon in its place.
    clients: dict[str, float] = field(default_factory=dict)

    def tell(self, name: str, what: str) -> None:
        self.story.append(f"{asyncio.get_running_loop().time():10.3f}  {name:6} {what}")

    def of(self, name: str) -> Observed:
        return self.things.get(name, Observed())

    def put(self, name: str, observed: Observed) -> None:
        self.things[name] = waiting(observed, asyncio.get_running_loop().time())
        if observed.serves or observed.holding or not observed.listeners:  # who waits asks where the app serves
            self.clients.pop(name, None)

    def happened(self, name: str, what: str, *, lost: bool = False) -> None:
        """Something changed; the daemon is woken unless the news is lost."""
        self.tell(name, what + (" (unheard)" if lost else ""))
        self.events[name] = self.events.get(name, 0) + 1
        if not lost:
            self.wake(name)

    def forbidden(self, what: str) -> "Forbidden":
        """To be raised; written down as well, because the controller survives whatever is raised."""
        self.tell("", f"FORBIDDEN: {what}")
        self.crimes.append(Forbidden(what))
        return self.crimes[-1]

    def bad_luck(self, scale: float = 1.0) -> bool:
        return self.chance.random() < self.trouble * scale

    # What happens by itself

    def ends(self, name: str, instance: str, how: str, *, lost: bool = False) -> None:
        """A process ends, unless it has ended before."""
        observed = self.of(name)
        for one in observed.instances:
            if one.id == instance and one.end is None:
                self.put(name, with_instance(observed, replace(one, end=how)))
                self.happened(name, f"{instance} {how}", lost=lost)

    def crash(self, name: str) -> None:
        alive = [i for i in self.of(name).instances if i.end is None]
        if alive:
            self.ends(name, self.chance.choice(alive).id, "was killed by SIGKILL", lost=self.bad_luck(0.5))

    def spawn(self, revision: Revision, workers: int) -> Instance:
        """A process that becomes ready, dies, or hangs, whoever waits for it."""
        loop, chance, name = asyncio.get_running_loop(), self.chance, revision.app
        self.births += 1
        one = born(revision, loop.time(), f"i{self.births}", self.births, workers=workers)
        self.put(name, with_instance(self.of(name), one))
        drain_s = chance.choice((0.1, 1.0, revision.server.stop_timeout_s * 2))
        life = self.lives[one.id] = Life(drain_s=drain_s if self.trouble else 0.1)
        self.tell(name, f"{one.id} is spawned, revision {revision.id}")
        if revision.build.content in self.shortlived:
            loop.call_later(chance.uniform(3, 12), self.ends, name, one.id, "exited with 1")
        if revision.build.content in self.unstartable or self.bad_luck():
            if chance.random() < 0.7:
                unheard = chance.random() < 0.5  # Start may notice before the doorbell rings, or after
                loop.call_later(chance.uniform(0, 3), partial(self.ends, name, one.id, "exited with 3", lost=unheard))
        else:
            loop.call_later(chance.uniform(0.05, 3), self._passes, name, one.id, life)
        return one

    def _passes(self, name: str, instance: str, life: Life) -> None:
        life.passed = True
        self.tell(name, f"{instance} comes through its gate")

    def knock(self, name: str) -> None:
        """Somebody connects: an instance answers, a sleeping app is woken, and else they wait."""
        observed = self.of(name)
        now = asyncio.get_running_loop().time()
        serving = [i for i in observed.instances if i.serves]
        if serving:
            self.put(name, with_instance(observed, replace(serving[-1], busy_at=now)))
        elif observed.listeners and not observed.holding:
            self.clients.setdefault(name, now)
            self.tell(name, "somebody knocks")
            self.let_in(name)

    def let_in(self, name: str) -> None:
        """Who waits is noticed as soon as somebody attends the door, and the news of it is never lost."""
        observed = self.of(name)
        if name in self.clients and observed.armed:
            rest = replace(observed.sleep_state, activated_at=asyncio.get_running_loop().time())
            self.put(name, replace(observed, armed=frozenset(), sleep_state=rest))
            self.happened(name, "is woken")

    def ails(self, name: str, *, well: bool) -> None:
        """What serves fails its health path from now on, or does so no longer."""
        observed = self.of(name)
        for one in [i for i in observed.instances if i.serves]:
            unwell = None if well else "GET /healthz answered 500"
            self.put(name, with_instance(self.of(name), replace(one, unhealthy=unwell)))
            self.happened(name, f"{one.id} is {'well' if well else 'unwell'}", lost=self.bad_luck(0.3))

    def loses_a_worker(self, name: str) -> None:
        """A worker of what serves dies on its own."""
        for one in [i for i in self.of(name).instances if i.serves]:
            self.put(name, with_instance(self.of(name), replace(one, workers_died=one.workers_died + 1)))
            self.happened(name, f"a worker of {one.id} died", lost=self.bad_luck(0.3))

    def wish(self, name: str, what: str, app: App) -> None:
        """An operator asks for something once."""
        observed, now = self.of(name), asyncio.get_running_loop().time()
        back = self.chance.choice(observed.known_good) if observed.known_good else None
        match what:
            case "stop":
                self.put(name, replace(observed, override=Override(kind="stopped", holds_for=app.fingerprint)))
            case "maintenance":
                self.put(name, replace(observed, override=Override(kind="maintenance", holds_for=app.fingerprint)))
            case "start":
                self.clients.pop(name, None)  # they may have come while nobody was to answer
                self.put(name, replace(observed, override=None))
            case "restart":
                self.put(name, replace(observed, restart_before=now))
            case "forget-failure":
                self.put(name, replace(observed, failures=()))
            case "rollback" if observed.source is not None and back is not None:
                asked = app.revision(observed.source.content)
                self.put(
                    name, replace(observed, override=Override(kind="rolled back", holds_for=asked.id, revision=back))
                )
        self.happened(name, f"somebody asks for: {what}")

    def source_changes(self, path: str, content: str | None, *, lost: bool = False) -> None:
        """Every app of that source suspects it, at once or, when the news is lost, with the next rescan."""
        self.contents[path] = content
        self.tell("", f"source {path} is now {content or 'unreadable'}" + (" (unheard)" if lost else ""))
        if lost:
            asyncio.get_running_loop().call_later(30, self.rescan, path)
        else:
            self.rescan(path)

    def rescan(self, path: str) -> None:
        for name, observed in list(self.things.items()):
            look = observed.source
            if (look is not None and look.source.path == path) or (
                name in self.asked and self.asked[name].source.path == path
            ):
                stale = look and (replace(look, stale=True, problem=None) if not look.source.pinned else look)
                self.put(name, replace(observed, source=stale, source_generation=observed.source_generation + 1))
                self.happened(name, "its source is suspected to have changed")

    def reboot(self) -> None:
        """Every process and socket is gone, and what was known only of this boot; what is bad stays bad."""
        for name, observed in self.things.items():
            bad = tuple(replace(t, last_at=0.0) for t in observed.failures if t.kind == "rejected")
            self.put(name, replace(observed, instances=(), failures=bad, **_SHUT))


_SHUT: dict[str, Any] = {"listeners": frozenset(), "holding": frozenset(), "armed": frozenset()}


@dataclass(slots=True, kw_only=True)
class Daemon:
    """One daemon's World. After `dies_in` more calls, or `kill`, nothing it does has an effect any more."""

    machine: Machine
    dies_in: int | None = None
    dead: bool = False
    dependencies: DependencyGraph = field(default_factory=DependencyGraph)
    reports: dict[str, Report] = field(default_factory=dict)
    _planner: Planner[App, Observed, Plan[Action]] = field(default_factory=lambda: Planner(plan))
    _known: dict[str, Observed] = field(default_factory=dict)
    _asked: dict[str, App | None] = field(default_factory=dict)
    _tracker: dict[str, "deque[float]"] = field(default_factory=dict)
    _refused: dict[str, tuple[Action, int, float]] = field(default_factory=dict)

    def begin(self) -> frozenset[str]:
        """Take back what an earlier one left; returns the names of which anything is left."""
        machine = self.machine
        for name, observed in machine.things.items():
            alive = any(i.end is None for i in observed.instances)
            rest = SleepState(gate_passed=observed.sleep_state.gate_passed, activated_at=self.now() if alive else None)
            tried = tuple(failure for failure in observed.failures if failure.phase != "staging")
            back = replace(
                observed,
                source_generation=0,
                sleep_state=rest,
                restart_before=float("-inf"),
                failures=tried,
                **_SHUT,
            )
            if back.source is not None and not back.source.source.pinned:
                back = replace(back, source=replace(back.source, stale=True, problem=None))
            for one in back.instances:
                passed = machine.lives[one.id].passed and one.end is None
                back = with_instance(
                    back, replace(one, ready_at=one.ready_at or (self.now() if passed else None), **_FRESH)
                )
            machine.put(name, back)
        return frozenset(name for name, observed in machine.things.items() if observed != Observed())

    def follow(self, asked: dict[str, App]) -> None:
        """Learn what is asked of every app, for what one has to know of another."""
        self.dependencies.follow(asked)
        for name, app in asked.items():
            if not app.may_sleep:
                self.machine.put(name, replace(self.machine.of(name), sleep_state=SleepState()))

    def _serves(self, name: str) -> bool:
        observed = self.machine.of(name)
        return observed.serves or bool(observed.armed)

    def _runs(self, name: str) -> bool:
        return any(each.end is None for each in self.machine.of(name).instances)

    def _alive(self) -> None:
        if self.dies_in is not None:
            self.dies_in -= 1
            self.dead = self.dead or self.dies_in < 0
        if self.dead:
            raise Killed

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def plan(self, name: str, asked: App | None) -> Plan[Action]:
        return self._planner.plan(name, asked, self.observe(name), self.now())

    def when_failing(self, name: str) -> AppState:
        return state_when_failing(self.observe(name))

    def observe(self, name: str) -> Observed:
        self._alive()
        tracker = self._tracker.setdefault(name, deque(maxlen=LOOKS_A_SECOND))
        if len(tracker) == LOOKS_A_SECOND and tracker[0] > self.now() - 1:
            raise self.machine.forbidden(f"{name} is looked at more than {LOOKS_A_SECOND} times a second")
        tracker.append(self.now())
        self._known[name] = self.seen(name)
        self._asked[name] = self.machine.asked.get(name)
        return self._known[name]

    def seen(self, name: str) -> Observed:
        """What is true of an app just now, for whoever looks without being the daemon."""
        return replace(
            self.machine.of(name),
            unmet_dependencies=self.dependencies.unmet_dependencies(name, self._serves),
            unknown_dependencies=self.dependencies.unknown_dependencies(name),
            stopping_dependents=self.dependencies.stopping_dependents(name, self._serves, self._runs),
        )

    def report(self, name: str, report: Report) -> None:
        self._alive()
        self.reports[name] = report
        self.machine.put(name, replace(self.machine.of(name), has_residue=True))

    async def do(self, name: str, action: Action) -> None:
        self._alive()
        if isinstance(action, ServeHoldingPage | StopHoldingPage | ArmActivation):
            self._at_the_door(name, action)
            return
        machine = self.machine
        self._check(name, action)
        machine.actions += 1
        machine.tell(name, f"{action}: {action.cause}")
        try:
            await self._try(name, action)
        except OSError as error:
            self._alive()
            machine.tell(name, f"  cannot: {error}")
            self._refused[name] = (action, machine.events.get(name, 0), self.now())
            machine.wake(name)
            raise
        self._alive()
        machine.wake(name)

    def _at_the_door(self, name: str, action: ServeHoldingPage | StopHoldingPage | ArmActivation) -> None:
        machine, seen, asked = self.machine, self._known[name], self._asked[name]
        if action.address not in seen.listeners:
            raise machine.forbidden(f"the door of {name} is not open")
        maintained = asked is not None and (asked.state == "maintenance" or _is_held(asked, seen, "maintenance"))
        answers = isinstance(action, ServeHoldingPage) and not maintained
        if answers and seen.serves_at(action.address):
            raise machine.forbidden(f"an instance of {name} serves, and the daemon answers")
        machine.tell(name, f"{action}: {action.cause}")
        self._becomes(name, action)
        if isinstance(action, ArmActivation):
            machine.let_in(name)
            self._wake(self.dependencies.dependents(name))

    def _wake(self, names: Iterable[str]) -> None:
        for name in names:
            self.machine.wake(name)

    async def _try(self, name: str, action: Action) -> None:  # noqa: C901, PLR0912  one case for each action
        match action:
            case Start():
                await self._start(action)
                self._wake(self.dependencies.dependents(name))
            case Stop():
                await self._stop(name, action)
                self._wake(self.dependencies.depends_on(name))
            case Sleep():
                # Asleep from here on: who comes while the last requests finish knocks.
                rest = SleepState(gate_passed=action.revision)
                self.machine.put(name, replace(self.machine.of(name), sleep_state=rest))
                self.machine.wake(name)
                await self._stop(name, action)
            case Release():
                await self._release(name, action)
            case Scale():
                await self._takes(2)
                self._stumble("a worker does not start")
                self._becomes(name, action)
            case MarkGood() | RecordFailure():
                self._becomes(name, action)
            case ReadSource():
                await self._read(name, action)
            case Reap():
                self._becomes(name, action)
            case Listen():
                self._stumble("the port is in use")
                self._becomes(name, action)
                if any(action.address in i.addresses for i in self.machine.of(name).instances) and self._unlucky():
                    self.machine.put(name, stranding(self.machine.of(name), action.address))
            case Unlisten() | RemoveBuild() | ForgetApp():
                await self._takes(0.2)
                self._stumble("the disk is full")
                self._becomes(name, action)
                self._wake(self.dependencies.depends_on(name))
                if isinstance(action, ForgetApp):
                    self.dependencies.forget(name)
            case Stage():
                await self._takes(20)
                self._stumble("the index does not answer")
                if action.build.content in self.machine.unstageable:
                    retry = self.machine.chance.choice(_RETRIES)
                    broken = failed(self.machine.of(name), action, self.now(), "no such requirement", retry)
                    self.machine.put(name, broken)
                    return
                await self._takes(5)
                self._becomes(name, action)

    def _becomes(self, name: str, action: Action) -> None:
        self._alive()
        self.machine.put(name, after(self.machine.of(name), action, self.now()))

    async def _takes(self, at_most_s: float) -> None:
        await asyncio.sleep(self.machine.chance.uniform(0, at_most_s))
        self._alive()

    def _unlucky(self) -> bool:
        return self.machine.bad_luck()

    def _stumble(self, reason: str) -> None:
        if self._unlucky():
            raise OSError(reason)

    async def _read(self, name: str, action: ReadSource) -> None:
        before = self.machine.of(name)
        await self._takes(1)
        self._stumble("the disk does not answer")
        content = self.machine.contents.get(action.source.path)
        look = before.source
        if content is not None:
            observed = self.machine.of(name)
            self.machine.put(
                name,
                after(
                    observed, replace(action, source_generation=before.source_generation), self.now(), content=content
                ),
            )
        elif look is not None and look.source == action.source:
            unread = replace(look, stale=True, problem="it cannot be read", tried_at=self.now())
            self.machine.put(name, replace(self.machine.of(name), source=unread))
        else:
            raise OSError("it cannot be read")

    async def _release(self, name: str, action: Release) -> None:
        await self._takes(5)
        self._stumble("cannot fork")
        if action.revision.build.content in self.machine.unreleasable or self._unlucky():
            broken = failed(self.machine.of(name), action, self.now(), "migrate exited with 1")
            self.machine.put(name, broken)
        else:
            self._becomes(name, action)

    async def _start(self, action: Start) -> None:
        machine, revision = self.machine, action.revision
        self._stumble("cannot fork")
        one = coming_up(machine.of(revision.app), revision)
        if one is None:
            self._check_spawn(revision)
            one = machine.spawn(revision, action.workers)
        until = one.started_at + revision.server.start_timeout_s
        while True:
            await asyncio.sleep(0.05)
            self._alive()
            found = next((i for i in machine.of(revision.app).instances if i.id == one.id), None)
            if found is None or found.end is not None or self.now() > until:
                left = without_instance(machine.of(revision.app), one.id)
                machine.put(revision.app, failed(left, action, self.now(), "it did not get as far as serving"))
                machine.tell(revision.app, f"  failed for the time {action.failing.count}, {action.failing.kind}")
                return
            if machine.lives[one.id].passed:
                up = replace(found, ready_at=found.ready_at or self.now())
                machine.put(revision.app, with_instance(machine.of(revision.app), up))
                return

    async def _stop(self, name: str, action: Stop | Sleep) -> None:
        machine = self.machine
        one = next((i for i in machine.of(name).instances if i.id == action.instance), None)
        if one is None:
            return
        life = machine.lives[one.id]
        if one.stopping_since is None:
            one = replace(one, stopping_since=self.now())
            machine.put(name, with_instance(machine.of(name), one))
            asyncio.get_running_loop().call_later(life.drain_s, machine.ends, name, one.id, "exited with 0")
        self._stumble("the database is locked")
        assert one.stopping_since is not None
        kill_at = one.stopping_since + 12.0
        while True:
            found = next((i for i in machine.of(name).instances if i.id == one.id), None)
            if found is None or found.end is not None or self.now() > kill_at:
                break
            await asyncio.sleep(0.05)
            self._alive()
        machine.put(name, without_instance(machine.of(name), one.id))

    # What must never happen

    def _check(self, name: str, action: Action) -> None:  # noqa: C901, PLR0912  one case for each action
        """Judged by what the daemon saw when it decided: what changes a moment later, nobody can know."""
        seen, asked = self._known[name], self._asked[name]
        held = asked is not None and (_is_held(asked, seen, "stopped") or _is_held(asked, seen, "maintenance"))
        wanted = asked is not None and asked.state == "running" and not held
        self._check_pause(name, action)
        if wanted and any(seen.serves_at(address) for address in seen.holding):
            raise self.machine.forbidden(f"an instance of {name} serves, and the daemon still answers")
        match action:
            case Stop(instance=instance) if wanted:
                (one,) = (i for i in seen.alive if i.id == instance)
                gating = (
                    asked is not None
                    and asked.may_sleep
                    and seen.sleep_state.gate_passed
                    and seen.sleep_state.activated_at is None
                )
                if one.serves and not gating and not any(i.serves for i in seen.alive if i is not one):
                    raise self.machine.forbidden(
                        f"{instance} of {name} serves, and nothing else does: it must not be stopped"
                    )
            case Stop() if seen.stopping_dependents:
                raise self.machine.forbidden(
                    f"{seen.stopping_dependents} lean on {name}: it must not be stopped before them"
                )
            case Scale(instance=instance, workers=workers):
                (one,) = (i for i in seen.alive if i.id == instance)
                if not one.serves or one.workers == workers:
                    raise self.machine.forbidden(f"{instance} of {name} is scaled for no reason")
            case RemoveBuild(build=build) if build in {i.build for i in seen.alive}:
                raise self.machine.forbidden(f"an instance of {name} runs from build {build}")
            case Unlisten(address=address) if any(address in i.addresses for i in seen.alive):
                raise self.machine.forbidden(f"an instance of {name} listens on {address}")
            case ForgetApp() if asked is not None or seen.alive or seen.builds or seen.listeners:
                raise self.machine.forbidden(f"{name} is not gone yet")
            case Release(release=release) if release in seen.released:
                raise self.machine.forbidden(f"the release command of {name} is run a second time")
            case Release(revision=revision) if asked is not None and self._waits_for_hand(asked, seen, revision):
                raise self.machine.forbidden(f"the release command of {name} failed and is run again unasked")
            case Sleep(instance=instance):
                self._check_sleep(asked, seen, next(i for i in seen.alive if i.id == instance))
            case Stage():
                self._check_stage(name, seen, action)
            case Start() | Release():
                if asked is None or not wanted:
                    raise self.machine.forbidden(f"nobody asks for {name} to run")
                self._check_time(asked, seen, action)
                if isinstance(action, Start):
                    self._check_start(asked, seen, action.revision)
            case _:
                pass

    def _check_stage(self, name: str, seen: Observed, action: Stage) -> None:
        """A build that could not be made is not made again before its time."""
        trouble, asked = seen.failure_of(action.failing.revision), self._asked[name]
        if asked is None or trouble is None or trouble.phase != "staging" or seen.restart_before > trouble.last_at:
            return
        waited_s, more = self.now() - trouble.last_at, 40 if trouble.retry == "later" else 1
        if waited_s < crash_delay_s(asked.crash, trouble.count + more, name) - 0.001:
            raise self.machine.forbidden(f"a build of {name} is made again after {waited_s:.3f} s")

    def _check_time(self, asked: App, seen: Observed, action: Start | Release) -> None:
        """A revision that failed is not tried before its time, and one that is bad not beside what serves at once."""
        revision = action.revision
        trouble = seen.failure_of(revision.id, asked.workers)
        if trouble is None or coming_up(seen, revision) is not None or seen.restart_before > trouble.last_at:
            return
        beside = trouble.kind == "rejected" and seen.serves
        # One more is counted when there is something to go back to; at the cap its delay may be the shorter one.
        counts = (trouble.count + beside, trouble.count + (trouble.kind == "rejected"))
        waited_s = self.now() - trouble.last_at
        if waited_s < min(crash_delay_s(asked.crash, count, asked.name) for count in counts) - 0.001:
            raise self.machine.forbidden(
                f"{asked.name} failed {trouble.count} times and is tried again after {waited_s:.3f} s"
            )

    def _check_start(self, asked: App, seen: Observed, revision: Revision) -> None:
        name, machine = asked.name, self.machine
        if revision.build.id not in seen.builds or not seen.listeners.issuperset(revision.addresses):
            raise machine.forbidden(f"{name} has no build or no listener to start with")
        if coming_up(seen, revision) is None and seen.serves and self._waits_for_hand(asked, seen, revision):
            raise machine.forbidden(f"{name} gives clients again to a revision that failed them")
        if coming_up(seen, revision) is not None or seen.serves:
            return
        if seen.unmet_dependencies:
            raise machine.forbidden(f"{name} is started before {seen.unmet_dependencies}")
        asleep = seen.sleep_state.activated_at is None and asked.may_sleep
        if asleep and seen.sleep_state.gate_passed == revision.id and not seen.alive:
            raise machine.forbidden(f"{name} sleeps, and nobody knocked")
        trouble = seen.failure_of(revision.id, asked.workers)
        back = [p for p in seen.known_good if p.id != revision.id and p.build.id in seen.builds]
        untroubled = [replace(p, address=asked.address, beside=asked.beside) for p in back]
        if trouble is None or trouble.kind != "rejected" or asleep or seen.failures != (trouble,):
            return
        if untroubled and revision.id not in {p.id for p in (*seen.known_good, *untroubled)}:
            raise machine.forbidden(f"{name} does not serve, and its bad revision is tried before the one before it")

    def _waits_for_hand(self, asked: App, seen: Observed, revision: Revision) -> bool:
        """Whether this failed in a way that nobody wants to see again by itself."""
        trouble = seen.failure_of(revision.id, asked.workers)
        if trouble is None or trouble.kind != "rejected" or seen.restart_before > trouble.last_at:
            return False
        well = any(i.serves and i.revision != revision.id and not i.unhealthy for i in seen.alive)
        return trouble.phase == "releasing" or (trouble.phase == "serving" and well and bool(seen.known_good))

    def _check_sleep(self, asked: App | None, seen: Observed, one: Instance) -> None:
        knocked_at = seen.sleep_state.activated_at
        if asked is None or knocked_at is None:
            return
        lately = max(one.busy_at or 0, one.ready_at or 0, knocked_at)
        if asked.idle_after_s is None or self.now() - lately < asked.idle_after_s:
            raise self.machine.forbidden(f"{asked.name} is put to sleep, and somebody asked for it lately")

    def _check_spawn(self, revision: Revision) -> None:
        alive = [i for i in self.machine.of(revision.app).instances if i.end is None]
        if coming_up(self.machine.of(revision.app), revision) is not None:
            raise self.machine.forbidden(f"revision {revision.id} of {revision.app} is started a second time")
        if len(alive) > 1:
            raise self.machine.forbidden(f"a third generation of {revision.app} is started")

    def _check_pause(self, name: str, action: Action) -> None:
        refused = self._refused.get(name)
        if refused is None:
            return
        failed, events, at = refused
        if action == failed and events == self.machine.events.get(name, 0) and self.now() - at < BACKOFF_S * 0.74:
            raise self.machine.forbidden(f"{action} of {name} failed and is tried again after {self.now() - at:.3f} s")


# Without an edit: what only one can fix is never tried again, however long the story is.
_RETRIES: tuple[Retry, ...] = ("soon", "later")
_FRESH: dict[str, Any] = {"detached": False, "unhealthy": None, "workers_died": 0}


def _is_held(asked: App, seen: Observed, kind: str) -> bool:
    return seen.override is not None and seen.override.kind == kind and seen.override.holds_for == asked.fingerprint
